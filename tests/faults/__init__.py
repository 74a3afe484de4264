"""Fault runs: the real services under everything that can go wrong, judged from outside. ``make faults``."""
