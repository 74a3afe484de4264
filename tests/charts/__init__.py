"""The charts: what of them is generated, and how they are checked."""
