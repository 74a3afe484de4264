"""Searches through the api: what it takes and refuses, and that nothing that is said goes through Redis."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from imap_server import ImapServer, imap_server
from integration.api_support import RunningApi, assert_problem, running_api
from integration.kernel_support import Bench
from integration.mailbox_search_support import MAILS, SAID, SearchBench, wav
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.jobs.manager import CHANNEL
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key
from switchboard_simulator.speech_library import media


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        running.deliver(*MAILS)
        yield running


@pytest.fixture(scope="module")
def api(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with running_api(database_url=urls.app, redis_url=valkey.url) as running:
        yield running


@pytest.fixture
def box(jobs: Bench, server: ImapServer) -> SearchBench:
    return SearchBench(jobs, server)


@pytest.fixture
def client(api: RunningApi, box: SearchBench) -> httpx.Client:
    with api.runtime.database.tenant(box.jobs.business_id) as session:
        return api.client(create_api_key(session, "agent", Role.AGENT)[1])


# What is said stays out of Redis


def test_neither_words_nor_finds_go_through_redis(box: SearchBench, client: httpx.Client) -> None:
    box.connect()
    redis = box.jobs.runtime.redis
    with redis.pubsub() as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(CHANNEL)
        task_id = client.post("/voice/search", json={"text": "the invoice from acme"}).json()["id"]
        kept = str([_content(redis, key) for key in redis.scan_iter()])
        assert f"voice_search_task_{task_id}" in kept
        box.finish(task_id, box.search_kernel())
        published = [json.loads(message["data"]) for message in _until_completed(channel)]
    assert published[-1]["status"] == "completed"
    assert "invoice" not in str(published).lower() + kept.lower()
    assert client.get(f"/api/tasks/{task_id}").json()["result"]["results"]


def _until_completed(channel: Any) -> Iterator[dict[str, Any]]:
    for message in channel.listen():
        if message["type"] == "message":
            yield message
            if b'"completed"' in message["data"]:
                return


def _content(redis: Any, key: bytes) -> Any:
    read = {b"string": redis.get, b"hash": redis.hgetall, b"set": redis.smembers}
    kind = redis.type(key)
    if kind == b"list":
        return key, redis.lrange(key, 0, -1)
    if kind == b"zset":
        return key, redis.zrange(key, 0, -1)
    return key, read[kind](key)


def test_the_socket_tells_what_was_found(box: SearchBench, client: httpx.Client, api: RunningApi) -> None:
    box.add_call("please call me back")
    task_id = client.post("/voice/search", json={"text": "call back"}).json()["id"]
    with api.follow(f"/ws/tasks/{task_id}", client.headers["authorization"].removeprefix("Bearer ")) as socket:
        assert json.loads(socket.recv())["status"] == "pending"
        box.finish(task_id, box.search_kernel())
        snapshots = [json.loads(message) for message in socket]
    assert snapshots[-1]["status"] == "completed"
    assert len(snapshots[-1]["result"]["results"]) == 1


# Through the api


def test_the_api_takes_words_and_answers_with_the_task(client: httpx.Client) -> None:
    answer = client.post("/voice/search", json={"text": "the invoice"})
    assert answer.status_code == 202
    assert answer.json()["job_type"] == "voice_search_task"
    assert answer.headers["location"] == f"/api/tasks/{answer.json()['id']}"


@pytest.mark.parametrize("form", [True, False])
def test_the_api_takes_a_recording(box: SearchBench, client: httpx.Client, *, form: bool) -> None:
    sound = media(SAID)
    if form:
        answer = client.post("/voice/search", files={"file": ("question.wav", sound, "audio/wav")})
    else:
        answer = client.post("/voice/search", content=sound, headers={"Content-Type": "audio/wav"})
    assert answer.status_code == 202, answer.text
    assert [row["audio"] for row in box.voice_queries()] == [sound]


def test_a_recording_that_is_sent_twice_is_one_search(box: SearchBench, client: httpx.Client) -> None:
    key = {"Idempotency-Key": "once"}
    ids = {
        client.post("/voice/search", files={"file": ("q.wav", media(SAID))}, headers=key).json()["id"] for _ in range(2)
    }
    assert len(ids) == len(box.voice_queries()) == 1


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"text": ""}, 422, "body.text"),
        ({"text": "  ?! "}, 422, "no word"),
        ({"text": "x" * 501}, 422, "body.text"),
        ({"text": 7}, 422, "body.text"),
        ({}, 422, "body.text"),
        ([], 422, "body"),
        ({"text": "a", "more": 1}, 422, "body.more"),
        (b'{"text": ', 400, "not JSON at character"),
        (b"\xff", 400, "not in UTF-8"),
        (b"", 400, "not JSON"),
    ],
)
def test_words_that_cannot_be_searched_for_are_refused(
    client: httpx.Client, body: Any, status: int, words: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = client.post("/voice/search", content=content, headers={"Content-Type": "application/json"})
    assert words in assert_problem(answer, status)["detail"]


SILENT_HEADER = wav([])
MULAW = SILENT_HEADER[:20] + b"\x07\x00" + SILENT_HEADER[22:]


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        (b"", "is not a WAV file"),
        (b"\x1f\x8b\x08 packed", "is not a WAV file"),
        (b"ID3 a song", "is not a WAV file"),
        (SILENT_HEADER[:20], "damaged"),
        (SILENT_HEADER, "has no sound in it"),
        (MULAW, "16-bit mulaw"),
        (wav([0] * 100, rate=44_100), "at 44100 Hz"),
        (wav([0] * (31 * 8000), rate=8000), "is 31 s long: say what you look for in 30 s at most"),
    ],
)
def test_a_recording_that_cannot_be_used_is_refused(client: httpx.Client, sound: bytes, words: str) -> None:
    answer = client.post("/voice/search", content=sound, headers={"Content-Type": "audio/wav"})
    assert words in assert_problem(answer, 422, "Unusable recording")["detail"]


def test_a_recording_of_an_hour_is_not_even_read(client: httpx.Client) -> None:
    hour = wav([0] * 8000, rate=8000) + bytes(3600 * 16_000)
    assert_problem(client.post("/voice/search", content=hour, headers={"Content-Type": "audio/wav"}), 413)


def test_other_media_types_are_refused(client: httpx.Client) -> None:
    answer = client.post("/voice/search", content=b"x", headers={"Content-Type": "audio/mpeg"})
    assert "audio/wav" in assert_problem(answer, 415)["detail"]


def test_with_several_mailboxes_one_has_to_be_named(box: SearchBench, client: httpx.Client) -> None:
    first = box.connect()
    box.connect(host="localhost")
    assert_problem(client.post("/voice/search", json={"text": "invoice"}), 422, "Which mailbox")
    assert client.post(f"/voice/search?mailbox_id={first}", json={"text": "invoice"}).status_code == 202


def test_the_mailbox_of_another_business_does_not_exist(box: SearchBench, client: httpx.Client) -> None:
    box.jobs.business_id = box.jobs.another_business()
    theirs = box.connect()
    assert_problem(client.post(f"/voice/search?mailbox_id={theirs}", json={"text": "invoice"}), 404)
