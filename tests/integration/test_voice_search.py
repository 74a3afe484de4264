"""Searching a real mailbox and the transcripts of calls, by typed and by spoken words."""

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from imap_server import ImapServer, imap_server, mail
from integration.kernel_support import Bench, bench
from integration.mailbox_search_support import MAILS, SAID, SearchBench, wav
from integration.mailbox_support import killed
from slice_kills import some_of
from switchboard_cli.devstack import DatabaseUrls, EmbeddedValkey
from switchboard_core.jobs.context import JobContext, bind_context
from switchboard_core.mailbox import search, service
from switchboard_core.mailbox.search import NO_MAILBOX, NOTHING_HEARD, forget_old_queries
from switchboard_core.runtime import process_runtime
from switchboard_simulator.speech_library import media
from switchboard_worker.tasks.mailbox import voice_search_task

SEED = 20260126
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        running.deliver(*MAILS, received=NOW - timedelta(days=2))
        yield running


@pytest.fixture
def box(jobs: Bench, server: ImapServer) -> SearchBench:
    return SearchBench(jobs, server)


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


@pytest.fixture
def own_process(box: SearchBench) -> Iterator[SearchBench]:
    """The runtime of this process is made of the settings of the bench, and closed at the end."""
    process_runtime.cache_clear()
    process_runtime()
    try:
        yield box
    finally:
        process_runtime().close()
        process_runtime.cache_clear()


def test_the_task_is_a_function_under_the_contracts_name(own_process: SearchBench) -> None:
    box = own_process
    mailbox_id, said = box.connect(), box.add_call("the invoice")
    both = voice_search_task(service.credentials_reference(mailbox_id), "office invoice")
    with box.jobs.runtime.database.tenant(box.jobs.business_id) as session:
        context = JobContext(session, box.jobs.runtime.settings, box.jobs.business_id)
        with bind_context(context):
            calls = voice_search_task(None, "invoice")
    assert both.result is not None
    assert calls.result is not None
    assert [one["kind"] for one in both.result["results"]] == ["mail", "call", "mail"]
    assert [one["id"] for one in calls.result["results"]] == [str(said)]


@pytest.mark.usefixtures("own_process")
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
