"""Failures that a person can cause or meet; each message is a sentence that says what to do."""


class PluginError(Exception):
    """Ends a command: the message is shown, and the process exits with ``exit_code``."""

    exit_code = 1


class ClusterError(PluginError):
    """The API server refused a request or could not be asked.

    Attributes:
        status: of the HTTP answer; 0 where there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(ClusterError):
    """The object, or its kind, is not there."""


class ForbiddenError(ClusterError):
    """The user may not do that."""
