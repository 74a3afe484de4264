"""Businesses (the tenants), their API keys, idempotency keys and audit log."""
