"""Transactions and counterparties of an accounting system."""
