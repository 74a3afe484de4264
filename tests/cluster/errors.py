"""What goes wrong, in one sentence that says what to do."""


class ClusterError(Exception):
    """The test cluster, or a part of it, cannot be had; its text is one sentence for a person."""
