"""Switchboard simulator."""
