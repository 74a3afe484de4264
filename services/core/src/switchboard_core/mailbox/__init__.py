"""Connected mailboxes: sorting, receipts in them, and search."""
