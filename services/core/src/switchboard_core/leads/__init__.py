"""Leads: import from CSV, list, bulk update and delete; the do-not-call list."""
