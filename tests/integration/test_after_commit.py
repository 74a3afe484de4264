"""What follows a commit: of all that one transaction has to tell of a thing, only the newest."""

from contextlib import suppress
from typing import Any

import pytest
from redis.client import PubSub

from integration.kernel_support import TASK, Bench
from switchboard_core.db import after_commit, savepoint
from switchboard_core.jobs.manager import CHANNEL, parse_change
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import wake_now


class UndoneError(Exception):
    """Takes a savepoint back."""


def test_of_one_key_the_newest_runs_in_its_turn_and_what_has_none_runs_each_time(jobs: Bench) -> None:
    told: list[str] = []
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        after_commit(session, lambda: told.append("one of many"))
        after_commit(session, lambda: told.append("a, old"), key="a")
        after_commit(session, lambda: told.append("b"), key="b")
        after_commit(session, lambda: told.append("a, new"), key="a")
        after_commit(session, lambda: told.append("one of many"))
    assert told == ["one of many", "b", "a, new", "one of many"]


def test_a_savepoint_that_is_taken_back_leaves_what_it_would_have_replaced(jobs: Bench) -> None:
    told: list[str] = []
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        after_commit(session, lambda: told.append("before"), key="a")
        with suppress(UndoneError), savepoint(session):
            after_commit(session, lambda: told.append("inside"), key="a")
            after_commit(session, lambda: told.append("inside"), key="b")
            raise UndoneError
        with savepoint(session):
            after_commit(session, lambda: told.append("kept"), key="c")
    assert told == ["before", "kept"]


def test_a_transaction_that_changes_a_task_often_publishes_it_once(jobs: Bench) -> None:
    first, second = jobs.enqueue(payload={"items": 1}), jobs.enqueue(payload={"items": 1})
    redis: Any = jobs.runtime.redis
    with redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(CHANNEL)
        channel.get_message(timeout=5)  # it is subscribed
        with jobs.runtime.database.tenant(jobs.business_id) as session:
            row = session.get_one(BackgroundJob, first)
            for done in range(50):
                row.done = done + 1
                session.flush()
                jobs.runtime.tasks.publish_after_commit(session, row)
            jobs.runtime.tasks.publish_after_commit(session, session.get_one(BackgroundJob, second))
        assert [_heard(channel), _heard(channel)] == [(first, 50), (second, 0)]


def _heard(channel: PubSub) -> tuple[int, int]:
    message = channel.get_message(timeout=5)
    assert message is not None
    change = parse_change(message["data"])
    return change.id, change.done


def test_a_transaction_wakes_a_job_once(jobs: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = jobs.enqueue(payload={"items": 1}), jobs.enqueue(payload={"items": 1})
    pushed: list[str] = []
    transport = jobs.runtime.transport
    monkeypatch.setattr(transport, "push", lambda wakeup: pushed.append(wakeup.rq_id))
    with jobs.runtime.database.tenant(jobs.business_id) as session:
        for job_id in (first, second, first):
            wake_now(session, transport, job_id)
    assert pushed == [f"{TASK}_{second}", f"{TASK}_{first}"]
