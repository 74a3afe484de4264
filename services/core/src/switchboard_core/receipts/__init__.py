"""Users, their payments, and the receipt that each payment gets by mail, once."""
