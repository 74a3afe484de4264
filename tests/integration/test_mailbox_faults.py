"""Whatever happens to worker, connection or mail server: every message is moved once, counted once and never lost."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from imap_proxy import Proxy, imap_proxy
from imap_server import PASSWORD, USER, ImapServer, imap_server, mail
from integration.kernel_support import bench, kernel_database
from integration.mailbox_support import MailboxBench, killed
from slice_kills import some_of
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.mailbox import sort as sorting
from switchboard_core.mailbox.imap import ImapSession, MailboxLostError, MessageHeader
from switchboard_core.mailbox.progress import Patience
from switchboard_core.mailbox.service import credentials_reference

MESSAGES = [
    *(mail(f"<invoice-{number}@example.com>", subject=f"Invoice {number}") for number in range(3)),
    mail("<news@example.com>", headers={"List-Id": "<news.example.org>"}),
    mail("<alert@example.com>", sender="alerts@example.org"),
    mail("<other@example.com>"),
    mail(None, subject="Invoice without an id"),
]
SORTED = {
    "INBOX": ["<alert@example.com>", "<other@example.com>"],
    "News": ["<news@example.com>"],
    "Receipts/2026": [
        "<invoice-0@example.com>",
        "<invoice-1@example.com>",
        "<invoice-2@example.com>",
        "Invoice without an id",
    ],
}
RESULT = {
    "moved": {"Receipts/2026": 4, "News": 1},
    "marked": 1,
    "unmatched": 1,
    "known": 0,
    "gone": 0,
    "bounces": 0,
}
NO_MOVE = (b"MOVE",)


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        yield running


@pytest.fixture
def box(
    urls: DatabaseUrls, valkey: EmbeddedValkey, server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MailboxBench]:
    # Small pages, so that a few messages make several slices.
    monkeypatch.setattr(sorting, "PAGE", 3)
    server.wipe()
    with bench(urls, valkey) as jobs:
        yield MailboxBench(jobs, server)


def assert_sorted_once(box: MailboxBench, task: dict[str, Any]) -> None:
    assert (task["status"], task["reason"]) == ("completed", None)
    assert box.server.contents() == SORTED
    assert task["result"] == RESULT
    assert (task["done"], task["failed"], task["total"]) == (7, 0, 7)
    assert {row["state"] for row in box.sorted_messages()} == {"moved"}
    assert len(box.sorted_messages()) == 6


def start_over(box: MailboxBench, port: int) -> int:
    """An unsorted mailbox, and a task that sorts it."""
    box.server.wipe()
    box.jobs.sql("DELETE FROM credentials")
    box.server.deliver(*MESSAGES)
    return box.start(box.mailbox(port=port))


def test_an_undisturbed_run_is_what_the_others_are_measured_by(box: MailboxBench) -> None:
    assert_sorted_once(box, box.finish(start_over(box, box.server.port), budget_s=0.0))


@pytest.mark.parametrize("hidden", [(), NO_MOVE], ids=["with MOVE", "without MOVE"])
def test_killed_at_any_boundary_of_statements_commits_and_commands(box: MailboxBench, hidden: Sequence[bytes]) -> None:
    """A seeded choice of the boundaries, or all of them (``make boundaries``); each run dies once."""
    with imap_proxy(box.server.port, hidden=hidden) as proxy:
        boundaries = count_boundaries(box, proxy)
        for fatal in some_of(boundaries, 8, seed=11):
            task_id, passed = start_over(box, proxy.port), itertools.count()
            with killed(box.jobs, lambda number=fatal, passed=passed: next(passed) == number) as deaths:  # type: ignore[misc]
                task = box.finish(task_id, budget_s=0.0)
            assert len(deaths) == 1
            assert_sorted_once(box, task)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("hidden", [(), NO_MOVE], ids=["with MOVE", "without MOVE"])
def test_killed_again_and_again(box: MailboxBench, hidden: Sequence[bytes], seed: int) -> None:
    chance = random.Random(seed)
    with imap_proxy(box.server.port, hidden=hidden) as proxy:
        task_id, left = start_over(box, proxy.port), iter(range(4))
        with killed(box.jobs, lambda: chance.random() < 0.04 and next(left, None) is not None) as deaths:
            task = box.finish(task_id, budget_s=0.0)
    assert len(deaths) >= 2
    assert_sorted_once(box, task)


def count_boundaries(box: MailboxBench, proxy: Proxy) -> int:
    passed = itertools.count()

    def pass_by() -> bool:
        next(passed)
        return False

    task_id = start_over(box, proxy.port)
    with killed(box.jobs, pass_by):
        assert_sorted_once(box, box.finish(task_id, budget_s=0.0))
    boundaries = next(passed)
    assert boundaries > 60
    return boundaries


@pytest.mark.parametrize("hidden", [(), NO_MOVE], ids=["with MOVE", "without MOVE"])
def test_a_connection_that_breaks_mid_sort_is_made_again(box: MailboxBench, hidden: Sequence[bytes]) -> None:
    """The server has done what it was asked; its answer, whole or in part, is lost."""
    with imap_proxy(box.server.port, hidden=hidden) as proxy:
        box.finish(start_over(box, proxy.port))
        length = proxy.carried[0]
    chance = random.Random(5)
    for cut in sorted(chance.sample(range(1, length), 6)):
        with imap_proxy(box.server.port, cuts=[cut], hidden=hidden) as proxy:
            assert_sorted_once(box, box.finish(start_over(box, proxy.port)))
            assert proxy.connections == 2


def test_a_mail_server_that_stays_away_fails_the_task_with_a_sentence(box: MailboxBench) -> None:
    mailbox_id = box.mailbox(port=9)
    task = box.sort(mailbox_id)
    assert (task["status"], task["attempt"]) == ("failed", 4)
    assert task["reason"] == (
        "127.0.0.1:9 cannot be reached: nothing answers there. "
        "It was tried 4 times: sort again once the mail server answers."
    )


def test_a_connection_that_always_breaks_at_the_same_page_fails_the_task_with_what_was_sorted_before(
    box: MailboxBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logging in and searching work each time, and are no progress."""
    readable: list[int] = []
    real = ImapSession.headers

    def headers(session: ImapSession, uids: Sequence[int]) -> list[MessageHeader]:
        readable.extend(uids if not readable else ())
        if not set(uids) <= set(readable):
            raise MailboxLostError("The connection broke.")
        return real(session, uids)

    monkeypatch.setattr(ImapSession, "headers", headers)
    box.server.deliver(*MESSAGES)
    task = box.sort(box.mailbox())
    assert (task["status"], task["done"], task["total"]) == ("failed", 3, 7)
    assert task["reason"] == "The connection broke. It was tried 4 times: sort again once the mail server answers."
    assert task["result"]["moved"] == {"Receipts/2026": 3}


def test_between_two_tries_the_task_sleeps_longer_and_longer(box: MailboxBench) -> None:
    patience = Patience(first_s=60, longest_s=300)
    task_id, kernel = box.start(box.mailbox(port=9)), box.kernel(patience)
    assert kernel.run_slice(task_id) is Outcome.FINISHED
    row = box.jobs.sql("SELECT run_after - heartbeat_at AS pause, cursor FROM background_jobs WHERE id = %s", task_id)[
        0
    ]
    assert 25 <= row["pause"].total_seconds() <= 61
    assert row["cursor"]["failures"] == 1
    assert [max(patience.pause_s(failures) for _ in range(50)) > 100 for failures in (1, 2, 3)] == [False, True, True]
    assert all(patience.pause_s(30) <= 300 for _ in range(50))


def test_wrong_credentials_fail_the_task_at_once(box: MailboxBench) -> None:
    mailbox_id = box.mailbox(login={"kind": "password", "password": "no longer the right one"})
    task = box.sort(mailbox_id)
    assert (task["status"], task["attempt"]) == ("failed", 1)
    assert task["reason"] == (
        "127.0.0.1 does not accept user name and password: connect the mailbox again with the right ones."
    )


def test_nothing_secret_and_nobody_s_mail_is_in_redis_payload_or_log(box: MailboxBench) -> None:
    channel = box.jobs.runtime.redis.pubsub()  # type: ignore[no-untyped-call]
    channel.psubscribe("*")
    box.server.deliver(*MESSAGES)
    task = box.sort(box.mailbox(login={"kind": "password", "password": PASSWORD}))
    box.sort(box.mailbox(login={"kind": "password", "password": "wrong-secret-of-the-test"}))
    told = []
    while (message := channel.get_message(timeout=0.2)) is not None:
        told.append(repr(message))
    channel.close()
    redis = box.jobs.runtime.redis
    kept = [repr((key, redis.dump(key))) for key in redis.scan_iter("*")]
    said = [repr(entry) for entry in box.jobs.logged]
    assert told
    assert said
    assert task["payload"] == {"credentials_json": credentials_reference(box.sorted_messages()[0]["mailbox_id"])}
    for private in (PASSWORD, USER, "wrong-secret-of-the-test", "alerts@example.org", "Nothing much"):
        assert not [line for line in (*told, *kept, *said, repr(task)) if private in line], private


def test_while_the_mail_server_is_talked_to_no_transaction_is_open(
    box: MailboxBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_then: list[int] = []
    real = ImapSession.move

    def move(session: ImapSession, uids: Sequence[int], folder: str) -> None:
        row = box.jobs.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kernel-test' "
            "AND state LIKE 'idle in transaction%%' AND datname = current_database()"
        )[0]
        open_then.append(row["count"])
        real(session, uids, folder)

    monkeypatch.setattr(ImapSession, "move", move)
    assert_sorted_once(box, box.finish(start_over(box, box.server.port)))
    assert set(open_then) == {0}
