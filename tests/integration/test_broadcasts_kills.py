"""A broadcast whose worker is killed, at every commit and around the send: nobody gets it twice, and nobody is lost."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from integration.broadcasts_support import BroadcastsBench, broadcasts_bench, numbers
from slice_kills import World, check_kills
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.broadcasts import service
from switchboard_core.broadcasts.schemas import BroadcastCreate
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.runtime import make_runtime
from switchboard_worker.tasks import broadcasts

MESSAGES = 2
BOUNDARIES = 12
"""Of about fifty; the seed decides which."""
ARRIVED = {"sent", "delivered"}
_first_numbers = itertools.count(5_570_000, 10)


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[BroadcastsBench]:
    with broadcasts_bench(postgres, migrated_template, valkey) as bench:
        yield bench.reset()


@pytest.fixture
def bench(servers: BroadcastsBench) -> BroadcastsBench:
    return servers.reset()


def what_became_of(bench: BroadcastsBench, phone: str) -> str:
    """``fine`` where a lead got the message once, or nobody knows and it is not tried again."""
    state, times = bench.recipient(phone)["state"], bench.messages().get(phone, 0)
    if (state in ARRIVED and times == 1) or (state == "uncertain" and times <= 1):
        return "fine"
    return f"{state}, at the carrier {times} times"


def without_counts(runtime: Any, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """The task; its result says how many are uncertain, which a kill may change."""
    return replace(broadcasts.broadcast(runtime, ctx, payload, cursor), result=None)


@contextmanager
def world(bench: BroadcastsBench) -> Iterator[World]:
    """A new business with some leads, and a broadcast to all of them."""
    runtime = bench.calls.runtime
    business_id = bench.calls.another_business()
    phones = numbers(MESSAGES, next(_first_numbers))
    bench.calls.add_leads(*phones, business_id=business_id)
    with bench.calls.session(business_id) as session:
        order = {"name": "Spring", "channel": "sms", "body": "Hello {name}", "filter": {"all": True}}
        made = service.start(session, runtime, BroadcastCreate.model_validate(order))
        job_id = made.background_job_id
    assert job_id is not None

    def over() -> bool:
        # A killed worker's claim of a message ends with its lease, which here is no time at all.
        bench.calls.execute("UPDATE outgoing_messages SET lease_until = now() WHERE business_id = %s", business_id)
        status = bench.calls.value("SELECT status FROM background_jobs WHERE id = %s", job_id)
        return status in {"completed", "failed", "cancelled"}

    yield World(
        runtime,
        business_id,
        job_id,
        {"broadcast": partial(without_counts, runtime)},
        observe=lambda: [what_became_of(bench, phone) for phone in phones],
        over=over,
    )


def test_killed_at_any_commit_everybody_gets_it_once_or_it_is_uncertain(servers: BroadcastsBench) -> None:
    calm = check_kills(partial(world, servers), at_most=BOUNDARIES)
    assert calm.slices >= MESSAGES
    assert isinstance(calm.outcome, tuple)
    assert calm.outcome[1:] == ([], ["fine"] * MESSAGES)


def test_no_transaction_is_open_while_the_carrier_takes_its_time(bench: BroadcastsBench) -> None:
    (ada,) = numbers(1)
    bench.add_leads(ada)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    runtime = make_runtime(bench.calls.runtime.settings, name="slow-answer")
    open_then: list[int] = []
    slow = replace(bench.calls, runtime=runtime)
    try:
        BroadcastsBench(slow).slice(
            broadcast, before_answer=lambda: open_then.append(open_transactions(bench, "slow-answer"))
        )
    finally:
        slow.close()
        runtime.close()
    assert (open_then, bench.messages()) == ([0], {ada: 1})
    assert bench.work(broadcast).status == "completed"


def open_transactions(bench: BroadcastsBench, application: str) -> int:
    """How many transactions a process holds; only its own role is told."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND application_name = :application"
    )
    with bench.calls.session() as session:
        return int(session.execute(query, {"application": application}).scalar_one())


def test_killed_before_the_last_look_it_is_sent_by_the_next_worker(bench: BroadcastsBench) -> None:
    (ada,) = numbers(1)
    bench.add_leads(ada)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.die_sending(broadcast, "before_look")
    assert bench.work(broadcast).status == "completed"
    bench.calls.await_carrier()
    assert (bench.messages(), bench.recipient(ada)["state"]) == ({ada: 1}, "delivered")


def test_killed_between_the_look_and_the_send_it_is_uncertain_and_never_sent(bench: BroadcastsBench) -> None:
    ada, ben = numbers(2)
    bench.add_leads(ada, ben)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.die_sending(broadcast, "before_send")
    done = bench.work(broadcast)
    assert bench.settle() == 0
    assert (bench.messages(), bench.recipient(ada)["state"]) == ({ben: 1}, "uncertain")
    assert done.status == "completed"


def test_killed_before_the_answer_it_is_found_at_the_carrier(bench: BroadcastsBench) -> None:
    (ada,) = numbers(1)
    bench.add_leads(ada)
    bench.calls.faults(callback_lose=1)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.die_sending(broadcast, "before_answer")
    bench.work(broadcast)
    bench.calls.await_carrier()
    assert bench.recipient(ada)["state"] == "uncertain"
    assert bench.settle() == 1
    assert (bench.messages(), bench.recipient(ada)["state"]) == ({ada: 1}, "delivered")


def test_a_worker_that_stood_still_finds_its_message_taken(bench: BroadcastsBench) -> None:
    (ada,) = numbers(1)
    bench.add_leads(ada)
    broadcast = bench.start()
    bench.to_sending(broadcast)

    def another_worker_sends_it() -> None:
        bench.let_leases_run_out()
        bench.work(broadcast)

    bench.slice(broadcast, before_look=another_worker_sends_it)
    bench.calls.await_carrier()
    assert (bench.messages(), bench.recipient(ada)["state"]) == ({ada: 1}, "delivered")
    assert bench.view(broadcast).status == "completed"


@pytest.mark.parametrize(
    ("moment", "state", "done", "failed"), [("before_look", "failed", 0, 1), ("before_send", "uncertain", 1, 0)]
)
def test_a_cancelled_broadcast_waits_for_what_a_dead_worker_was_sending(
    bench: BroadcastsBench, moment: str, state: str, done: int, failed: int
) -> None:
    ada, ben = numbers(2)
    bench.add_leads(ada, ben)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.die_sending(broadcast, moment)
    bench.calls.execute("UPDATE outgoing_messages SET lease_until = now() + interval '1 minute'")
    bench.cancel(broadcast)
    bench.slice(broadcast)
    assert (bench.task(broadcast)["status"], bench.recipient(ada)["state"]) == ("running", "sending")
    assert bench.recipient(ben)["skip_reason"] == "called_off"

    bench.let_leases_run_out()
    assert bench.work(broadcast).status == "cancelled"
    task = bench.task(broadcast)
    assert (bench.recipient(ada)["state"], task["done"], task["failed"]) == (state, done, failed)
    assert bench.view(broadcast).counts.sending == 0
    assert bench.messages() == {}


def test_a_broadcast_whose_task_fails_ends_with_its_reason_and_sends_no_more(bench: BroadcastsBench) -> None:
    ada, ben = numbers(2)
    bench.add_leads(ada, ben)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.die_sending(broadcast, "before_send")
    bench.calls.execute("UPDATE background_jobs SET crash_count = 4")
    done = bench.work(broadcast)
    assert (done.status, done.counts.uncertain, done.counts.skipped, done.counts.queued) == ("failed", 1, 1, 0)
    assert done.reason is not None
    assert "5 times in a row" in done.reason
    row = bench.calls.rows("SELECT status, reason, finished_at FROM broadcasts WHERE id = %s", broadcast.id)[0]
    assert (row["status"], row["reason"]) == ("failed", done.reason)
    assert row["finished_at"] is not None
    assert bench.messages() == {}


def test_a_message_that_a_task_has_left_behind_is_settled_by_the_sweep(bench: BroadcastsBench) -> None:
    (ada,) = numbers(1)
    bench.add_leads(ada)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.die_sending(broadcast, "before_look")
    assert bench.calls.sweep.settle_abandoned_messages() == 0, "its task will send it"

    bench.calls.execute("UPDATE background_jobs SET status = 'failed', finished_at = now()")
    assert bench.calls.sweep.settle_abandoned_messages() == 1
    assert bench.recipient(ada)["state"] == "failed"
    assert bench.recipient(ada)["reason"] == "Its worker stopped before it was sent, and its task has ended."
