"""Switchboard api."""
