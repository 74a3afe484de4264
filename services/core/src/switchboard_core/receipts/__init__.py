"""Users, their payments, and the receipts that they get by mail."""
