"""Recordings in a bucket of Amazon S3 or of a server that speaks its protocol."""

import base64
import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from switchboard_recorder.store import (
    ObjectMissingError,
    StoredObject,
    StoreError,
    StoreFullError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreUnavailableError,
    validate_key,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 60
_ATTEMPTS = 4
_READ_BYTES = 256 * 1024
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_DENIED = frozenset({"401", "403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_NO_ROOM = frozenset(
    {"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
)
_CORRUPT = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})


class S3Store:
    """Objects in one bucket, below one prefix.

    A recording is sent in a single request, so that it becomes visible as a whole; the server compares its sha256.
    Credentials come from the environment (``AWS_ACCESS_KEY_ID`` …), a profile, or the machine's role, as boto3 does.

    Args:
        bucket: name of the bucket; it must exist.
        prefix: put before every key; may be empty.
        endpoint_url: base URL of another server than Amazon's.
        region: of the bucket; None takes it from the environment.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint_url: str | None = None, region: str | None = None
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        session = boto3.session.Session()
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            # Servers other than Amazon's are seldom reachable as bucket.host, and some refuse trailing checksums.
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with self._explained("reach"):
            self._client: Any = session.client(
                "s3",
                endpoint_url=endpoint_url or None,
                region_name=region or session.region_name or "us-east-1",
                config=config,
            )

    def put(self, key: str, source: Path, content_type: str, sha256: str) -> StoredObject:
        """Store a file, see ``RecordingStore.put``."""
        name = self._name(key)
        with source.open("rb") as body, self._explained(f"store {key} in"):
            if hashlib.file_digest(body, "sha256").hexdigest() != sha256:
                msg = f"{source.name} changed between its download and its storing: download it again."
                raise StoreIntegrityError(msg)
            stored = StoredObject(url=f"s3://{self._bucket}/{name}", size=body.tell(), sha256=sha256)
            if self._has(name, stored):
                return stored
            body.seek(0)
            self._client.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=body,
                ContentType=content_type,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode("ascii"),
                Metadata={"sha256": sha256},
            )
        return stored

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading, see ``RecordingStore.open``; it cannot seek."""
        with self._explained(f"read {key} from"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._name(key))
            except ClientError as error:
                if _code(error) not in _MISSING:
                    raise
                msg = f"There is no recording {key} in {self._place}; it may have been deleted after its retention."
                raise ObjectMissingError(msg) from None
        return io.BufferedReader(_Body(answer["Body"], lambda: self._explained(f"read {key} from")), _READ_BYTES)

    def exists(self, key: str) -> bool:
        """Tell whether there is such an object."""
        with self._explained(f"look for {key} in"):
            return self._head(self._name(key)) is not None

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        with self._explained(f"delete {key} from"):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def healthy(self) -> None:
        """Ask for the bucket."""
        with self._explained("reach"):
            self._client.head_bucket(Bucket=self._bucket)

    @property
    def _place(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def _name(self, key: str) -> str:
        return self._prefix + validate_key(key)

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            head: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=name)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise
        return head

    def _has(self, name: str, wanted: StoredObject) -> bool:
        head = self._head(name)
        return (
            head is not None
            and head["ContentLength"] == wanted.size
            and head.get("Metadata", {}).get("sha256") == wanted.sha256
        )

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        """Turn errors of boto3 into sentences that say what to do."""
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            msg = f"Cannot {action} {self._place}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            raise StoreMisconfiguredError(msg) from error
        except ClientError as error:
            raise self._explain(action, error) from error
        except ValueError as error:  # boto3's word for an endpoint that is not a URL
            msg = f"Cannot {action} {self._place}: {error}; check S3_ENDPOINT_URL."
            raise StoreMisconfiguredError(msg) from error
        except (BotoCoreError, OSError) as error:
            msg = f"Cannot {action} {self._place} ({type(error).__name__}): check S3_ENDPOINT_URL and the network."
            raise StoreUnavailableError(msg) from error

    def _explain(self, action: str, error: ClientError) -> StoreError:
        code = _code(error)
        failed = f"Cannot {action} {self._place}"
        if code in _NO_ROOM:
            return StoreFullError(f"{failed}: the store has no room left; raise its quota or give it a larger disk.")
        if code in _DENIED:
            return StoreMisconfiguredError(
                f"{failed}: access denied; check the AWS_* credentials and the bucket's policy."
            )
        if code == "NoSuchBucket" or code in _MISSING:
            return StoreMisconfiguredError(f"{failed}: there is no such bucket; create it or correct RECORDINGS_URL.")
        if code in _CORRUPT:
            return StoreIntegrityError(f"{failed}: the content was damaged on its way; it is sent again.")
        return StoreUnavailableError(f"{failed}: the server answered {code}; it is tried again later.")


class _Body(io.RawIOBase):
    """The content of an object as it arrives; errors on the way are explained too."""

    def __init__(self, body: Any, explained: Callable[[], AbstractContextManager[None]]) -> None:  # noqa: ANN401
        self._body = body
        self._explained = explained

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        with self._explained():
            chunk: bytes = self._body.read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
