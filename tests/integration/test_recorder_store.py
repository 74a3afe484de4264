"""Recordings in S3, against a server on loopback."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from carrier_media import MediaServer, serve
from switchboard_recorder.store import (
    InvalidKeyError,
    ObjectMissingError,
    RecordingStore,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreUnavailableError,
    open_store,
)

KEY = "42/2026/RE0123.wav"
BUCKET = "calls"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3(endpoint: str) -> Iterator[Any]:
    """A client of the server, which has one bucket. Made once: a client costs much of a second."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
            environment.delenv(name, raising=False)
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()


@pytest.fixture(scope="module")
def opened_store(s3: Any, endpoint: str) -> RecordingStore:
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    return open_store(f"s3://{BUCKET}/recordings", s3_endpoint_url=endpoint)


@pytest.fixture
def store(opened_store: RecordingStore, s3: Any) -> Iterator[RecordingStore]:
    """The store, empty."""
    yield opened_store
    for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "download.wav"
    path.write_bytes(b"RIFF" + bytes(range(256)) * 9000)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def put(store: RecordingStore, source: Path) -> str:
    return store.put(KEY, source, "audio/x-wav", sha256(source)).url


def test_a_stored_recording_reads_back_as_it_was(store: RecordingStore, recording: Path) -> None:
    put(store, recording)
    with store.open(KEY) as stream:
        assert stream.read() == recording.read_bytes()


def test_storing_tells_url_size_and_checksum(store: RecordingStore, recording: Path) -> None:
    stored = store.put(KEY, recording, "audio/x-wav", sha256(recording))
    assert (stored.url, stored.size, stored.sha256) == (
        f"s3://{BUCKET}/recordings/{KEY}",
        recording.stat().st_size,
        sha256(recording),
    )


def test_readers_are_told_the_content_type(store: RecordingStore, s3: Any, recording: Path) -> None:
    put(store, recording)
    assert s3.head_object(Bucket=BUCKET, Key=f"recordings/{KEY}")["ContentType"] == "audio/x-wav"


def test_the_server_holds_the_checksum_that_it_compared(store: RecordingStore, s3: Any, recording: Path) -> None:
    put(store, recording)
    head = s3.head_object(Bucket=BUCKET, Key=f"recordings/{KEY}", ChecksumMode="ENABLED")
    assert head["Metadata"]["sha256"] == sha256(recording)


def test_storing_the_same_recording_again_sends_nothing(store: RecordingStore, s3: Any, recording: Path) -> None:
    put(store, recording)
    before = s3.head_object(Bucket=BUCKET, Key=f"recordings/{KEY}")["LastModified"]
    sent: list[str] = []
    client: Any = vars(store)["_client"]
    client.meta.events.register("before-call.s3", lambda model, **_: sent.append(model.name), unique_id="spy")
    put(store, recording)
    client.meta.events.unregister("before-call.s3", unique_id="spy")
    assert sent == ["HeadObject"]
    assert s3.head_object(Bucket=BUCKET, Key=f"recordings/{KEY}")["LastModified"] == before


def test_other_content_under_the_same_key_replaces_the_object(store: RecordingStore, recording: Path) -> None:
    put(store, recording)
    recording.write_bytes(b"RIFF of the same call, complete this time")
    put(store, recording)
    with store.open(KEY) as stream:
        assert stream.read() == recording.read_bytes()


def test_a_file_that_changed_since_its_download_is_not_stored(store: RecordingStore, recording: Path) -> None:
    with pytest.raises(StoreIntegrityError, match="download it again"):
        store.put(KEY, recording, "audio/x-wav", "0" * 64)
    assert not store.exists(KEY)


def test_a_stored_recording_exists_until_it_is_deleted(store: RecordingStore, recording: Path) -> None:
    put(store, recording)
    assert store.exists(KEY)
    store.delete(KEY)
    assert not store.exists(KEY)


def test_deleting_what_is_not_there_is_fine(store: RecordingStore) -> None:
    store.delete(KEY)


def test_opening_what_is_not_there_says_so(store: RecordingStore) -> None:
    with pytest.raises(ObjectMissingError, match=f"no recording {KEY}"):
        store.open(KEY)


def test_a_key_that_leads_out_of_the_prefix_is_refused(store: RecordingStore) -> None:
    with pytest.raises(InvalidKeyError):
        store.exists("../other/RE1.wav")


def test_a_bucket_that_is_there_is_healthy(store: RecordingStore) -> None:
    store.healthy()


@pytest.mark.usefixtures("s3")
def test_a_missing_bucket_says_what_to_correct(endpoint: str, recording: Path) -> None:
    store = open_store("s3://nobody", s3_endpoint_url=endpoint)
    with pytest.raises(StoreMisconfiguredError, match="no such bucket; create it or correct RECORDINGS_URL"):
        store.healthy()
    with pytest.raises(StoreMisconfiguredError, match="no such bucket"):
        put(store, recording)


@pytest.mark.usefixtures("s3")
def test_missing_credentials_say_which_variables_to_set(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreMisconfiguredError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store(f"s3://{BUCKET}", s3_endpoint_url=endpoint).healthy()


@pytest.mark.usefixtures("s3")
def test_a_server_that_does_not_answer_is_unavailable_and_worth_a_later_try() -> None:
    store = open_store(f"s3://{BUCKET}", s3_endpoint_url="http://127.0.0.1:1")
    with pytest.raises(StoreUnavailableError, match="check S3_ENDPOINT_URL and the network") as failure:
        store.healthy()
    assert failure.value.retryable


@pytest.mark.usefixtures("s3")
def test_an_answer_that_breaks_off_is_unavailable_too() -> None:
    with MediaServer(bytes(1_000_000)) as server:
        server.answers.append(serve(stop_after=300_000))
        store = open_store(f"s3://{BUCKET}", s3_endpoint_url=server.url)
        with store.open(KEY) as stream, pytest.raises(StoreUnavailableError, match=f"Cannot read {KEY}"):
            stream.read()


@pytest.mark.usefixtures("s3")
def test_an_endpoint_that_is_no_url_says_which_variable_is_wrong() -> None:
    with pytest.raises(StoreMisconfiguredError, match="check S3_ENDPOINT_URL"):
        open_store(f"s3://{BUCKET}", s3_endpoint_url="minio:9000")
