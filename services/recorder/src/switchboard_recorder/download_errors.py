"""Why a download failed. ``retryable`` tells the recorder whether to try the recording again later."""


class DownloadError(Exception):
    """A recording could not be downloaded; the message says why and what to do.

    Attributes:
        retryable: whether a later try can succeed without anybody changing a setting.
    """

    retryable = False


class RecordingNotReadyError(DownloadError):
    """The carrier announced the recording but does not serve it yet."""

    retryable = True


class BrokenOffError(DownloadError):
    """The connection broke, or the carrier was not able to answer.

    Attributes:
        retry_after_s: pause that the carrier asked for, in seconds.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RecorderLeavingError(DownloadError):
    """The recorder was asked to leave in the middle of a download; another one does it again."""

    retryable = True


class DiskError(DownloadError):
    """The temporary file cannot be written. Another recorder may have a disk that works."""

    retryable = True


class DiskFullError(DiskError):
    """There is no room for temporary files, or no place. That says nothing about the recording."""


class RecordingGoneError(DownloadError):
    """The carrier deleted the recording."""


class DownloadRefusedError(DownloadError):
    """The carrier refuses: wrong credentials, or a request that it never answers."""


class RecordingTooLargeError(DownloadError):
    """The recording is larger than allowed."""


class NotAudioError(DownloadError):
    """The carrier answered with something else than audio."""


class UrlNotAllowedError(DownloadError):
    """A recording's URL does not lead to the carrier; the message says which setting would allow it."""
