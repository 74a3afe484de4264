"""The invariants of a running installation, looked at from its rows, its queues and its carrier; see ``examine``."""
