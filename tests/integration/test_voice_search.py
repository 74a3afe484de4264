"""Searching a real mailbox and the transcripts of calls, by typed and by spoken words."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from imap_server import ImapServer, imap_server, mail
from integration.api_support import RunningApi, assert_problem, running_api
from integration.kernel_support import bench, kernel_database
from integration.mailbox_search_support import SearchBench, wav
from integration.mailbox_support import killed
from slice_kills import some_of
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.context import JobContext, bind_context
from switchboard_core.jobs.manager import CHANNEL
from switchboard_core.mailbox import search, service
from switchboard_core.mailbox.search import NO_MAILBOX, NOTHING_HEARD, forget_old_queries
from switchboard_core.runtime import process_runtime
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key
from switchboard_simulator.speech_library import media
from switchboard_worker.tasks.mailbox import voice_search_task

SEED = 20260126
SAID = "03-rms.wav"
"""Somebody asks for an invoice, for his office."""

NOW = datetime.now(UTC)
INVOICE = mail("<1@example.com>", subject="Your invoice", sender="Acme <billing@acme.example>", text="For the office.")
LETTER = mail("<2@example.com>", subject="Hello", text="I have not seen the invoice of Acme yet. " + "More. " * 60)
OTHER = mail("<3@example.com>", subject="Lunch", text="At noon?")


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        running.deliver(INVOICE, LETTER, OTHER, received=NOW - timedelta(days=2))
        yield running


@pytest.fixture(scope="module")
def api(urls: DatabaseUrls, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with running_api(database_url=urls.app, redis_url=valkey.url) as running:
        yield running


@pytest.fixture
def box(urls: DatabaseUrls, valkey: EmbeddedValkey, server: ImapServer) -> Iterator[SearchBench]:
    with bench(urls, valkey) as jobs:
        yield SearchBench(jobs, server)


@pytest.fixture
def client(api: RunningApi, box: SearchBench) -> httpx.Client:
    with api.runtime.database.tenant(box.jobs.business_id) as session:
        return api.client(create_api_key(session, "agent", Role.AGENT)[1])


def found(task: dict[str, Any]) -> list[tuple[str, str]]:
    """Kinds and titles of what a task found, best first."""
    assert task["status"] == "completed", task["reason"]
    return [(one["kind"], one["title"]) for one in task["result"]["results"]]


def test_mails_and_calls_are_found_and_ranked_as_one_list(box: SearchBench) -> None:
    box.connect()
    said = box.add_call("the invoice from acme never came")
    box.add_call("nice weather today")
    old = box.add_call("about the invoices", age_days=700)
    task = box.search("Find the invoice from Acme")
    assert found(task) == [
        ("mail", "Your invoice"),
        ("call", f"Recording {said}"),
        ("mail", "Hello"),
        ("call", f"Recording {old}"),
    ]
    assert task["result"]["terms"] == ["invoice", "acme"]
    assert task["result"]["notes"] == []
    assert (task["done"], task["total"], task["failed"]) == (4, 4, 0)
    first, second, third, _ = task["result"]["results"]
    assert (first["id"], first["sender"], first["place"]) == ("<1@example.com>", "Acme <billing@acme.example>", "INBOX")
    assert datetime.fromisoformat(first["when"]).date() == (NOW - timedelta(days=2)).date()
    assert (second["id"], second["place"], second["sender"]) == (str(said), "CA1", None)
    assert second["snippet"] == "the invoice from acme never came"
    assert third["snippet"].startswith("I have not seen the invoice of Acme yet. More.")
    assert third["snippet"].endswith("…")
    assert 1 >= first["score"] > second["score"] > third["score"] > 0


def test_a_question_may_be_spoken(box: SearchBench) -> None:
    box.connect()
    said = box.add_call("send the invoice to the office please")
    task_id = box.start_search(audio=media(SAID))
    kernel = box.search_kernel()
    with capture_logs() as logs:
        kernel.run_slice(task_id)
        [heard] = box.voice_queries()
        assert (heard["audio"], "invoice" in heard["heard"]) == (b"", True)
        task = box.finish(task_id, kernel)
    assert found(task)[:2] == [("call", f"Recording {said}"), ("mail", "Your invoice")]
    assert {"invoice", "office"} <= set(task["result"]["terms"])
    assert box.voice_queries() == []
    assert "invoice" not in str([*logs, *box.jobs.logged])
    assert task["payload"]["search_text"] is None


def test_mails_that_were_sorted_away_are_found_too(box: SearchBench) -> None:
    box.server.deliver(mail("<9@example.com>", subject="Contract"), folder="Archive")
    mailbox_id = box.connect()
    assert found(box.search("contract")) == []
    box.set_rules(mailbox_id, [{"name": "Old", "match": {"subject": "x"}, "action": {"move_to": "Archive"}}])
    task = box.search("contract")
    assert found(task) == [("mail", "Contract")]
    assert task["result"]["results"][0]["place"] == "Archive"


def test_without_a_mailbox_the_calls_are_searched_and_it_is_said(box: SearchBench) -> None:
    said = box.add_call("please call me back")
    task = box.search("call back")
    assert found(task) == [("call", f"Recording {said}")]
    assert task["result"]["notes"] == [NO_MAILBOX]


def test_calls_with_all_the_words_come_first_and_others_follow(box: SearchBench) -> None:
    some, every = box.add_call("call the office"), box.add_call("call me back tomorrow")
    assert found(box.search("call back tomorrow")) == [
        ("call", f"Recording {every}"),
        ("call", f"Recording {some}"),
    ]


def test_what_looks_like_an_operator_is_a_word(box: SearchBench) -> None:
    said = box.add_call("yes or no")
    assert found(box.search('"or" -yes (no) & | ! :* no')) == [("call", f"Recording {said}")]


def test_the_calls_of_others_are_not_found(box: SearchBench) -> None:
    box.add_call("please call me back")
    box.jobs.business_id = box.jobs.another_business()
    assert found(box.search("call")) == []


def test_no_more_than_fifty_are_kept(box: SearchBench) -> None:
    box.add_call("please call")
    box.jobs.sql(
        "INSERT INTO recordings (business_id, recording_sid, call_sid, media_url, transcript) "
        "SELECT business_id, recording_sid || n, call_sid, media_url, transcript "
        "FROM recordings, generate_series(1, 52) n"
    )
    assert len(box.search("call")["result"]["results"]) == 50


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


# What goes wrong later


@pytest.mark.parametrize("sound", ["silence", "noise"])
def test_where_nothing_is_said_nothing_is_understood(box: SearchBench, sound: str) -> None:
    dice = random.Random(SEED)
    task = box.search(audio=wav([dice.randint(-8000, 8000) if sound == "noise" else 0 for _ in range(16_000)]))
    assert (task["status"], task["reason"]) == ("failed", NOTHING_HEARD)
    assert box.voice_queries() == []


def test_listening_has_a_hard_limit(box: SearchBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "HEARING_S", 0.01)
    task = box.search(audio=media(SAID))
    assert task["status"] == "failed"
    assert task["reason"] == "Understanding the recording took longer than 0.01 s: say less, or type the words."


def test_an_installation_that_cannot_listen_says_so(
    urls: DatabaseUrls, valkey: EmbeddedValkey, server: ImapServer
) -> None:
    with bench(urls, valkey, transcription_engine="none") as jobs:
        task = SearchBench(jobs, server).search(audio=media(SAID))
    assert task["status"] == "failed"
    assert task["reason"].endswith("type the words.")


def test_a_mailbox_that_was_removed_meanwhile_leaves_the_calls(box: SearchBench) -> None:
    mailbox_id, said = box.connect(), box.add_call("the invoice")
    task_id = box.start_search("invoice")
    with box.jobs.runtime.database.tenant(box.jobs.business_id) as session:
        service.remove(session, mailbox_id)
    task = box.finish(task_id, box.search_kernel())
    assert found(task) == [("call", f"Recording {said}")]
    assert task["errors"] == [{"item": "mailbox", "message": f"There is no mailbox {mailbox_id}."}]
    assert task["result"]["notes"][0].startswith("The mailbox was not searched, only calls were: ")


def test_a_mail_server_that_is_away_leaves_the_calls(box: SearchBench) -> None:
    box.connect(port=1)
    said = box.add_call("the invoice")
    task = box.search("invoice")
    assert found(task) == [("call", f"Recording {said}")]
    assert "cannot be reached" in task["errors"][0]["message"]


def test_a_slow_mail_server_gets_no_more_time_than_it_has(box: SearchBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAILBOX_S", 0.0)
    box.connect()
    task = box.search("invoice")
    assert "was not searched" in task["result"]["notes"][0]


def test_a_recording_that_waited_too_long_is_deleted_and_its_search_says_so(box: SearchBench) -> None:
    old = box.start_search(audio=media(SAID))
    box.jobs.sql("UPDATE voice_queries SET created_at = now() - interval '61 minutes'")
    young = box.start_search(audio=media(SAID))
    assert forget_old_queries(box.jobs.runtime, 100) == 1
    assert len(box.voice_queries()) == 1
    kernel = box.search_kernel()
    assert box.finish(old, kernel)["reason"] == "The recording was deleted before it could be searched for: ask again."
    assert box.finish(young, kernel)["status"] == "completed"


# By name


def test_the_task_is_a_function_under_the_contracts_name(box: SearchBench) -> None:
    mailbox_id, said = box.connect(), box.add_call("the invoice")
    process_runtime.cache_clear()
    try:
        both = voice_search_task(service.credentials_reference(mailbox_id), "office invoice")
        with box.jobs.runtime.database.tenant(box.jobs.business_id) as session:
            context = JobContext(session, box.jobs.runtime.settings, box.jobs.business_id)
            with bind_context(context):
                calls = voice_search_task(None, "invoice")
    finally:
        process_runtime().close()
        process_runtime.cache_clear()
    assert both.result is not None
    assert calls.result is not None
    assert [one["kind"] for one in both.result["results"]] == ["mail", "call", "mail"]
    assert [one["id"] for one in calls.result["results"]] == [str(said)]


def test_without_a_mailbox_and_a_job_nobody_knows_whose_calls_are_meant() -> None:
    with pytest.raises(LookupError, match="whose calls"):
        voice_search_task(None, "invoice")


# Kills


def test_killed_at_any_boundary_of_statements_commits_and_commands(
    box: SearchBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seeded choice of the boundaries, or all (``make boundaries``). Listening itself is another test's."""
    monkeypatch.setattr(search, "hear", lambda _audio, _settings: "the invoice of acme")
    box.connect()
    box.add_call("the invoice")

    def run(strikes: Callable[[], bool]) -> tuple[tuple[Any, ...], int]:
        """What a search leaves behind, and how often its worker died."""
        task_id, kernel = box.start_search(audio=media(SAID)), box.search_kernel()
        with killed(box.jobs, strikes) as deaths:
            task = box.finish(task_id, kernel)
        counters = (task["status"], task["done"], task["failed"], task["result"]["notes"])
        return (counters, found(task), box.voice_queries()), len(deaths)

    passed = itertools.count()
    undisturbed, _ = run(lambda: next(passed) < 0)
    assert undisturbed == (("completed", 3, 0, []), undisturbed[1], [])
    for fatal in some_of(next(passed), 6):
        passed = itertools.count()
        assert run(lambda number=fatal, passed=passed: next(passed) == number) == (undisturbed, 1)  # type: ignore[misc]
