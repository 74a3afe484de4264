"""Switchboard worker."""
