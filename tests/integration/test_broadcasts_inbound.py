"""STOP and START as they come in life: doubled, replayed, two at once, and to businesses that share a number."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from integration.broadcasts_support import OUR_NUMBER, BroadcastsBench, broadcasts_bench, numbers
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.broadcasts import inbound, opt_outs
from switchboard_core.broadcasts.models import IncomingMessage
from waiting import await_true

(ADA,) = numbers(1)
MANY = 6
Form = dict[str, str]

_REMEMBER = (
    "INSERT INTO incoming_messages (business_id, message_sid, received_at) VALUES (%s, %s, now() - %s::interval)"
)
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[BroadcastsBench]:
    with broadcasts_bench(postgres, migrated_template, valkey) as bench:
        yield bench


@pytest.fixture
def bench(servers: BroadcastsBench) -> BroadcastsBench:
    return servers.reset()


def a_message(body: str) -> Form:
    """Something that Ada writes to us."""
    return {"MessageSid": f"SM{uuid.uuid4().hex}", "From": ADA, "To": OUR_NUMBER, "Body": body}


def receive(bench: BroadcastsBench, *messages: Form) -> None:
    for form in messages:
        inbound.on_message(bench.calls.runtime, form)


def is_out(bench: BroadcastsBench, business_id: int | None = None) -> bool:
    wanted = business_id or bench.business_id
    return bool(bench.calls.value("SELECT count(*) FROM opt_outs WHERE business_id = %s", wanted))


def what_was_done(bench: BroadcastsBench, business_id: int | None = None) -> list[str]:
    """What the audit log has of people's messages, in order."""
    query = "SELECT action FROM audit_events WHERE business_id = %s AND actor = 'the person, by SMS' ORDER BY id"
    return [row["action"] for row in bench.calls.rows(query, business_id or bench.business_id)]


def remembered(bench: BroadcastsBench) -> list[str]:
    return [row["message_sid"] for row in bench.calls.rows("SELECT message_sid FROM incoming_messages ORDER BY 1")]


# The same message again


def test_a_start_that_comes_again_does_not_undo_the_stop_behind_it(bench: BroadcastsBench) -> None:
    start, stop = a_message("START"), a_message("STOP")
    receive(bench, start, stop, start)
    assert is_out(bench)
    assert what_was_done(bench) == ["opt_outs.removed", "opt_outs.added"]


def test_a_stop_that_comes_again_does_not_undo_the_start_behind_it(bench: BroadcastsBench) -> None:
    stop, start = a_message("STOP"), a_message("START")
    receive(bench, stop, start, stop)
    assert not is_out(bench)


def test_a_doubled_stop_is_one_stop(bench: BroadcastsBench) -> None:
    stop = a_message("STOP")
    receive(bench, stop, stop)
    assert is_out(bench)
    assert what_was_done(bench) == ["opt_outs.added"]


def test_a_new_message_of_the_same_words_counts(bench: BroadcastsBench) -> None:
    receive(bench, a_message("START"), a_message("STOP"), a_message("START"))
    assert not is_out(bench)


def test_a_start_without_an_id_is_not_applied_and_a_stop_is(bench: BroadcastsBench) -> None:
    nameless = {"MessageSid": ""}
    receive(bench, a_message("STOP") | nameless)
    assert is_out(bench)
    receive(bench, a_message("START") | nameless)
    assert is_out(bench)


def test_of_a_message_only_its_id_is_remembered_and_of_small_talk_nothing(bench: BroadcastsBench) -> None:
    stop = a_message("STOP")
    receive(bench, stop, a_message("What is this about?"))
    assert remembered(bench) == [stop["MessageSid"]]
    assert ADA not in str(bench.calls.rows("SELECT * FROM incoming_messages"))


# Two at once


def test_one_message_many_times_at_once_is_applied_once(bench: BroadcastsBench) -> None:
    stop, together = a_message("STOP"), threading.Barrier(MANY)

    def deliver(_: int) -> None:
        together.wait(20)
        receive(bench, stop)

    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(deliver, range(MANY)))
    assert what_was_done(bench) == ["opt_outs.added"]


@pytest.mark.parametrize("committed", [True, False], ids=["which succeeds", "which fails"])
def test_a_repetition_waits_for_the_delivery_that_is_under_way(bench: BroadcastsBench, committed: bool) -> None:
    stop = a_message("STOP")
    again = threading.Thread(target=receive, args=(bench, stop), daemon=True)
    with suppress(ConnectionError), bench.calls.session() as session:
        session.add(IncomingMessage(business_id=bench.business_id, message_sid=stop["MessageSid"]))
        session.flush()
        again.start()
        await_true(lambda: bench.calls.value(_WAITING) == 1, "the repetition to wait")
        assert not is_out(bench)
        if not committed:
            raise ConnectionError
    again.join(20)
    assert not again.is_alive()
    # What the first one did is not this test's: where it was lost, the repetition makes up for it.
    assert is_out(bench) is not committed


# Businesses that share a number


def test_a_message_reaches_all_of_them_or_none_and_its_repetition_makes_up_for_it(
    bench: BroadcastsBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = bench.calls.another_business(caller_ids=[OUR_NUMBER])
    stop, add, asked = a_message("STOP"), opt_outs.add, []

    def fail_at_the_second(*arguments: Any, **options: Any) -> object:
        asked.append(arguments)
        if len(asked) == 2:
            raise ConnectionError
        return add(*arguments, **options)

    monkeypatch.setattr(opt_outs, "add", fail_at_the_second)
    with pytest.raises(ConnectionError):
        receive(bench, stop)
    assert (is_out(bench), is_out(bench, partner), remembered(bench)) == (False, False, [])
    receive(bench, stop)
    assert (is_out(bench), is_out(bench, partner)) == (True, True)


def test_an_old_start_means_nothing_to_a_business_that_came_to_the_number_later(bench: BroadcastsBench) -> None:
    start = a_message("START")
    receive(bench, start)
    late = bench.calls.another_business(caller_ids=[OUR_NUMBER])
    receive(bench, a_message("STOP"), start)
    assert (is_out(bench), is_out(bench, late)) == (True, True)
    assert what_was_done(bench, late) == ["opt_outs.added"]


# Forgetting


def test_the_sweep_forgets_what_came_more_than_thirty_days_ago(bench: BroadcastsBench) -> None:
    other = bench.calls.another_business()
    for business_id, sid, age in [
        (bench.business_id, "SMold", "31 days"),
        (other, "SMolder", "90 days"),
        (other, "SMyoung", "29 days"),
    ]:
        bench.calls.execute(_REMEMBER, business_id, sid, age)
    assert bench.calls.sweep.tick()
    assert remembered(bench) == ["SMyoung"]
    assert bench.calls.sweep.forget_incoming_messages() == 0


def test_no_more_is_forgotten_at_a_time_than_a_batch_oldest_first(bench: BroadcastsBench) -> None:
    for days in (33, 31, 32):
        bench.calls.execute(_REMEMBER, bench.business_id, f"SM{days}", f"{days} days")
    with bench.calls.session() as session:
        assert inbound.forget_old_messages(session, 2) == 2
    assert remembered(bench) == ["SM31"]
