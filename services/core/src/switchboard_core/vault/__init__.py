"""Secrets that businesses give us: passwords and tokens of their mailboxes and accounts, encrypted at rest."""
