"""Where recordings are kept: one small interface, implemented for a folder and for S3."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

MIN_FREE_BYTES = 256 * 1024 * 1024
_MAX_KEY_LENGTH = 512
# Every segment starts with a letter or digit: ``..``, absolute paths and our own dot files cannot be addressed.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*(?:/[A-Za-z0-9][A-Za-z0-9._=-]*)*")


class StoreError(Exception):
    """A recording could not be stored or read; the message says what to do.

    Attributes:
        retryable: whether trying again later can succeed without anybody changing a setting.
    """

    retryable = False


class StoreMisconfiguredError(StoreError):
    """The store's URL, bucket or credentials are wrong."""


class InvalidKeyError(StoreError):
    """The name of an object is not one that the store accepts."""


class ObjectMissingError(StoreError):
    """There is no object with this key."""


class StoreIntegrityError(StoreError):
    """What was about to be stored is not what was downloaded."""

    retryable = True


class StoreUnavailableError(StoreError):
    """The store does not answer, or refuses to write just now."""

    retryable = True


class StoreFullError(StoreUnavailableError):
    """The store has no room left."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in the store.

    Attributes:
        url: where it is (``file://`` or ``s3://``).
        size: in bytes.
        sha256: of its content, as lower-case hex.
    """

    url: str
    size: int
    sha256: str


class RecordingStore(Protocol):
    """A place for recordings. Implementations may be shared between threads."""

    def put(self, key: str, source: Path, content_type: str, sha256: str) -> StoredObject:
        """Store a file; readers see the whole object or none.

        Storing the same content under the same key again changes nothing; other content replaces the object.

        Args:
            key: name of the object, such as ``42/2026/RE0123.wav``.
            source: the file to store; it stays where it is.
            content_type: media type that readers are told.
            sha256: of the file's content, as hex; compared with what is stored.

        Raises:
            InvalidKeyError: the key is not acceptable.
            StoreFullError: no room is left.
            StoreIntegrityError: the file does not have this checksum.
            StoreError: anything else; see its message.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading from its beginning; the caller closes it.

        Raises:
            ObjectMissingError: there is no such object.
        """
        ...

    def exists(self, key: str) -> bool:
        """Tell whether there is such an object."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        ...

    def healthy(self) -> None:
        """Return when the store can take recordings now.

        Raises:
            StoreFullError: too little room is left.
            StoreUnavailableError: it does not answer or cannot be written.
            StoreMisconfiguredError: the bucket or the credentials are wrong.
        """
        ...


def validate_key(key: str) -> str:
    """Return the key when it is safe as a path and as an S3 name.

    Raises:
        InvalidKeyError: it is empty, too long, or has other characters than letters, digits and ``. _ = - /``.
    """
    if len(key) > _MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        msg = (
            f"The object key {key[:80]!r} is not acceptable: use segments of letters, digits and '._=-' that start "
            f"with a letter or digit, joined by '/', at most {_MAX_KEY_LENGTH} characters."
        )
        raise InvalidKeyError(msg)
    return key


def open_store(
    url: str,
    *,
    s3_endpoint_url: str | None = None,
    s3_region: str | None = None,
    min_free_bytes: int = MIN_FREE_BYTES,
) -> RecordingStore:
    """Open the store that a URL names; nothing is contacted or created yet, see ``healthy``.

    Args:
        url: ``file:///folder`` or ``s3://bucket/prefix``.
        s3_endpoint_url: base URL of an S3-compatible server; None means AWS.
        s3_region: region of the bucket; None takes ``AWS_REGION`` or ``AWS_DEFAULT_REGION``.
        min_free_bytes: a folder on a disk with less room than this counts as full.

    Raises:
        StoreMisconfiguredError: the URL is neither of the two forms.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        from switchboard_recorder.store_file import FileStore

        return FileStore(Path(unquote(parts.path)), min_free_bytes=min_free_bytes)
    if parts.scheme == "s3" and parts.netloc and not parts.query:
        # Imported here because boto3 costs a third of a second that a store in a folder should not pay.
        from switchboard_recorder.store_s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), endpoint_url=s3_endpoint_url, region=s3_region)
    msg = f"RECORDINGS_URL is {url!r}: use file:///absolute/folder or s3://bucket/prefix."
    raise StoreMisconfiguredError(msg)
