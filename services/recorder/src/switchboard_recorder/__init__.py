"""Switchboard recorder."""
