"""Broadcasts by SMS: each lead once, nobody who wants none, and every answer of the carrier."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from integration.broadcasts_support import OUR_NUMBER, BroadcastsBench, broadcasts_bench, numbers
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.broadcasts import delivery, opt_outs
from switchboard_core.broadcasts.service import BroadcastRefusedError
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.leads import do_not_call
from switchboard_core.outbox.states import Channel

ADA, BEN, CLEO = numbers(3)


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[BroadcastsBench]:
    with broadcasts_bench(postgres, migrated_template, valkey) as bench:
        yield bench


@pytest.fixture
def bench(servers: BroadcastsBench) -> BroadcastsBench:
    return servers.reset()


def states(bench: BroadcastsBench) -> dict[str, str]:
    """State, or reason to skip, of every recipient by the last digits."""
    rows = bench.calls.rows(
        "SELECT r.address, coalesce(r.skip_reason, m.state, 'queued') AS state FROM broadcast_recipients r "
        "LEFT JOIN outgoing_messages m ON m.id = r.message_id"
    )
    return {row["address"]: row["state"] for row in rows}


def test_every_lead_gets_the_text_once_and_its_delivery_is_known(bench: BroadcastsBench) -> None:
    phones = numbers(12)
    bench.add_leads(*phones)
    broadcast = bench.work(bench.start(body="Hello {first_name|there}, {attr_plan|your plan} ends."), budget_s=0.05)
    assert broadcast.status == "completed"
    bench.calls.await_carrier()
    counts = bench.view(broadcast).counts
    assert (counts.total, counts.delivered) == (12, 12)
    assert bench.messages() == dict.fromkeys(phones, 1)
    assert bench.texts_to(ADA) == ["Hello Lead, your plan ends."]
    assert bench.recipient(ADA)["from_number"] == OUR_NUMBER
    task = bench.task(broadcast)
    assert (task["total"], task["done"], task["failed"]) == (12, 12, 0)
    assert task["payload"] == {"broadcast_id": broadcast.id}


def test_no_number_and_no_text_is_ever_logged(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    with capture_logs() as logged:
        bench.work(bench.start(body="A secret for {name}"))
        bench.text_us(ADA, "STOP")
    words = str(logged)
    assert logged
    assert ADA not in words
    assert "secret" not in words


# Who gets nothing, and why


def test_who_is_out_on_the_list_or_deleted_gets_nothing_and_the_task_says_so(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA, BEN)
    with bench.calls.session() as session:
        opt_outs.add(session, Channel.SMS, [ADA], reason="requested")
        do_not_call.add(session, [BEN])
    broadcast = bench.work(bench.start())
    assert bench.messages() == {}
    assert states(bench) == {ADA: "opted_out", BEN: "do_not_call"}
    assert (broadcast.status, broadcast.reason) == (
        "completed",
        "None of the 2 leads could be sent to: 1 do_not_call, 1 opted_out.",
    )
    assert bench.task(broadcast)["done"] == 2


def test_what_changes_between_two_sends_is_honoured(bench: BroadcastsBench) -> None:
    phones = numbers(4)
    bench.add_leads(*phones)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.slice(broadcast, budget_s=0.0)
    bench.text_us(phones[1], "Stop")
    with bench.calls.session() as session:
        do_not_call.add(session, [phones[2]])
    bench.calls.execute("UPDATE leads SET deleted_at = now() WHERE phone = %s", phones[3])
    bench.work(broadcast)
    assert bench.messages() == {phones[0]: 1}
    assert {phone: state for phone, state in states(bench).items() if phone != phones[0]} == {
        phones[1]: "opted_out",
        phones[2]: "do_not_call",
        phones[3]: "lead_deleted",
    }


def test_a_stop_that_comes_while_the_connection_stands_is_honoured(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.slice(broadcast, before_look=lambda: bench.text_us(ADA, "STOP"))
    bench.work(broadcast)
    assert (bench.messages(), states(bench)) == ({}, {ADA: "opted_out"})


def test_stop_counts_for_later_broadcasts_until_start(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.text_us(ADA, "STOPALL")
    bench.work(bench.start())
    assert bench.messages() == {}
    bench.text_us(ADA, "What is this about?")
    bench.text_us(ADA, "START")
    bench.work(bench.start())
    assert bench.messages() == {ADA: 1}


def test_a_stop_reaches_the_business_that_wrote_and_no_other(bench: BroadcastsBench) -> None:
    stranger = bench.calls.another_business(caller_ids=["+14155550177"])
    for business_id in (bench.business_id, stranger):
        bench.calls.add_leads(ADA, business_id=business_id)
    bench.text_us(ADA, "STOP")
    owners = bench.calls.rows("SELECT business_id FROM opt_outs")
    assert [row["business_id"] for row in owners] == [bench.business_id]


def test_a_filter_that_selects_nobody_creates_nothing(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    with pytest.raises(BroadcastRefusedError, match="The filter selects no lead, so nothing was created"):
        bench.start(filter={"tags": ["nobody"]})
    assert bench.calls.value("SELECT count(*) FROM broadcasts") == 0
    assert bench.calls.value("SELECT count(*) FROM background_jobs") == 0


def test_a_filter_whose_leads_are_gone_by_then_ends_with_a_sentence(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    broadcast = bench.start()
    bench.calls.execute("UPDATE leads SET deleted_at = now()")
    done = bench.work(broadcast)
    assert (done.status, done.reason) == ("completed", "The filter selected no lead any more: nothing was sent.")


def test_leads_that_come_later_are_not_meant(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    broadcast = bench.start()
    bench.add_leads(BEN)
    bench.work(broadcast)
    assert bench.messages() == {ADA: 1}


def test_without_a_number_to_send_from_nothing_is_created(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.calls.execute("UPDATE businesses SET caller_ids = '[]'")
    with pytest.raises(BroadcastRefusedError, match="There is no number to send from"):
        bench.start()


# What the carrier answers


def test_a_number_that_is_refused_is_an_error_of_its_own(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA, BEN)
    bench.script(ADA, "reject", error_code=21614)
    broadcast = bench.work(bench.start())
    task = bench.task(broadcast)
    (error,) = task["errors"]
    assert (task["status"], task["done"], task["failed"]) == ("completed", 1, 1)
    assert error["message"] == "The carrier refused the message (code 21614)."
    assert bench.messages() == {BEN: 1}


def test_a_number_that_told_the_carrier_to_stop_is_opted_out_here_too(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.script(ADA, "reject", error_code=21610)
    bench.work(bench.start())
    bench.script(ADA, "delivered")
    bench.work(bench.start())
    assert bench.messages() == {}
    assert states(bench) == {ADA: "opted_out"} | {ADA: states(bench)[ADA]}


def test_a_text_that_grows_too_long_for_one_lead_is_that_leads_error(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA, BEN)
    bench.calls.execute("UPDATE leads SET attributes = %s WHERE phone = %s", '{"a": "' + "x" * 1600 + '"}', ADA)
    bench.work(bench.start(body="Hello {attr_a}"))
    assert bench.messages() == {BEN: 1}
    assert (
        bench.recipient(ADA)["reason"] == "Filled in for this lead the text has 1606 characters; 1 to 1600 can be sent."
    )


def test_undelivered_is_known_with_its_code(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.script(ADA, "undelivered", error_code=30005)
    broadcast = bench.work(bench.start())
    bench.calls.await_carrier()
    assert bench.view(broadcast).counts.failed == 1
    assert bench.recipient(ADA)["reason"].endswith("undelivered (code 30005).")


def test_a_carrier_that_is_busy_is_asked_again_later_and_nobody_twice(bench: BroadcastsBench) -> None:
    phones = numbers(6)
    bench.add_leads(*phones)
    bench.calls.faults(seed=4, create_429=0.5)
    broadcast = bench.work(bench.start())
    bench.calls.await_carrier()
    assert bench.messages() == dict.fromkeys(phones, 1)
    assert bench.view(broadcast).counts.delivered == 6


def test_an_account_that_is_refused_ends_the_broadcast_with_a_clear_sentence(bench: BroadcastsBench) -> None:
    bench.add_leads(*numbers(3))
    bench.calls.sim("POST", "messages/script", {"outcome": "reject", "error_code": 21606})
    broadcast = bench.work(bench.start())
    assert (broadcast.status, broadcast.reason) == (
        "failed",
        "Stopped: The carrier refused the account or the number it comes from (code 21606).",
    )
    assert (bench.messages(), broadcast.counts.skipped_by_reason) == ({}, {"called_off": 3})


def test_doubled_and_late_callbacks_converge(bench: BroadcastsBench) -> None:
    phones = numbers(10)
    bench.add_leads(*phones)
    bench.script(phones[0], "undelivered")
    bench.calls.faults(
        seed=3,
        callback_duplicate=0.7,
        callback_delay=0.7,
        callback_delay_seconds=0.2,
        callback_reorder=0.5,
        callback_hold_seconds=0.1,
    )
    broadcast = bench.work(bench.start())
    bench.calls.await_carrier()
    counts = bench.view(broadcast).counts
    assert (counts.delivered, counts.failed) == (9, 1)


# What nobody answers


@pytest.mark.parametrize("fault", ["create_lose_answer", "create_5xx_after"])
def test_a_lost_answer_is_settled_by_the_callback(bench: BroadcastsBench, fault: str) -> None:
    bench.add_leads(ADA)
    bench.calls.faults(**{fault: 1})
    broadcast = bench.work(bench.start())
    bench.calls.await_carrier()
    assert (bench.messages(), states(bench)) == ({ADA: 1}, {ADA: "delivered"})
    assert bench.task(broadcast)["done"] == 1


def test_a_lost_answer_without_callbacks_is_settled_by_the_carriers_list(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.calls.faults(create_lose_answer=1, callback_lose=1)
    broadcast = bench.work(bench.start())
    bench.calls.await_carrier()
    assert states(bench) == {ADA: "uncertain"}
    assert bench.settle() == 1
    assert states(bench) == {ADA: "delivered"}
    assert bench.recipient(ADA)["check_at"] is None
    assert (bench.view(broadcast).counts.delivered, bench.messages()) == (1, {ADA: 1})


def test_a_list_with_two_equal_texts_gives_each_recipient_its_own(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.calls.faults(create_lose_answer=1, callback_lose=1)
    for _ in range(2):
        bench.work(bench.start())
    bench.calls.await_carrier()
    assert bench.settle() == 2
    sids = bench.calls.rows("SELECT provider_id FROM outgoing_messages WHERE state = 'delivered'")
    assert len({row["provider_id"] for row in sids}) == 2


def test_what_the_carrier_does_not_know_stays_uncertain_and_is_never_sent_again(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.calls.faults(create_5xx_before=1)
    broadcast = bench.work(bench.start())
    bench.calls.faults()
    assert bench.settle() == 0
    assert bench.recipient(ADA)["check_at"] is not None
    bench.age(bench.calls.runtime.settings.unknown_outcome_after_seconds)
    assert delivery.settle_silent_messages(bench.calls.runtime) == 0
    assert (states(bench), bench.recipient(ADA)["check_at"]) == ({ADA: "uncertain"}, None)
    assert (bench.messages(), bench.view(broadcast).counts.uncertain) == ({}, 1)


def test_a_delivery_whose_callbacks_were_lost_is_asked_for(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.calls.faults(callback_lose=1)
    bench.work(bench.start())
    bench.calls.await_carrier()
    assert states(bench) == {ADA: "sent"}
    assert (bench.settle(), states(bench)) == (0, {ADA: "sent"})  # not silent for long enough yet
    bench.age(600)
    assert bench.settle() == 1
    assert states(bench) == {ADA: "delivered"}


def test_a_carrier_that_cannot_be_asked_is_asked_again(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    bench.calls.faults(callback_lose=1)
    bench.work(bench.start())
    bench.calls.await_carrier()
    bench.age(600)
    bench.calls.faults(query_5xx=1)
    assert bench.settle() == 0
    bench.calls.faults()
    assert bench.settle() == 1


# Pace and cancel


def test_messages_leave_at_the_broadcasts_pace(bench: BroadcastsBench) -> None:
    phones = numbers(3)
    bench.add_leads(*phones)
    broadcast = bench.start(per_minute=0.01)
    bench.to_sending(broadcast)
    for sent in (1, 2, 3):
        for _ in range(3):  # looking more often does not help
            assert bench.slice(broadcast) is Outcome.FINISHED
            bench.wake()
        assert len(bench.messages()) == sent
        bench.calls.execute("UPDATE broadcasts SET rate_refilled_at = rate_refilled_at - interval '100 minutes'")
    assert bench.work(broadcast).status == "completed"


def test_a_broadcast_that_waits_for_its_pace_sleeps_until_then(bench: BroadcastsBench) -> None:
    bench.add_leads(*numbers(2))
    broadcast = bench.start(per_minute=0.01)
    bench.to_sending(broadcast)
    bench.slice(broadcast)
    slept = bench.calls.value(
        "SELECT extract(epoch FROM run_after - now()) FROM background_jobs WHERE id = %s", broadcast.task_id
    )
    assert 5_000 < slept <= 6_000


def test_all_broadcasts_of_a_business_share_its_rate_and_another_business_has_its_own(bench: BroadcastsBench) -> None:
    rival = bench.calls.another_business(caller_ids=["+14155550177"])
    bench.add_leads(ADA)
    bench.calls.add_leads(BEN, business_id=rival)
    own = [bench.start(), bench.start()]
    other = bench.start(business_id=rival)
    for broadcast in (*own, other):
        bench.to_sending(broadcast)
    bench.calls.execute(
        "INSERT INTO message_rates (business_id, channel, rate_tokens, rate_refilled_at) VALUES "
        "(%s, 'sms', 0, now() + interval '1 hour')",
        bench.business_id,
    )
    for broadcast in (*own, other):
        bench.slice(broadcast)
    assert bench.messages() == {BEN: 1}


def test_a_cancel_stops_even_the_message_whose_connection_stands(bench: BroadcastsBench) -> None:
    phones = numbers(4)
    bench.add_leads(*phones)
    broadcast = bench.start()
    bench.to_sending(broadcast)
    bench.slice(broadcast, budget_s=0.0)
    bench.slice(broadcast, before_look=lambda: bench.cancel(broadcast))
    done = bench.work(broadcast)
    assert (done.status, done.reason) == ("cancelled", "Cancelled on request.")
    assert bench.messages() == {phones[0]: 1}
    assert done.counts.skipped_by_reason == {"called_off": 3}
    assert done.finished_at is not None


def test_a_broadcast_that_waits_is_cancelled_at_once(bench: BroadcastsBench) -> None:
    bench.add_leads(*numbers(2))
    broadcast = bench.start(per_minute=0.01)
    bench.to_sending(broadcast)
    bench.slice(broadcast)
    bench.cancel(broadcast)
    assert bench.slice(broadcast) is Outcome.FINISHED
    assert bench.view(broadcast).status == "cancelled"


def test_a_broadcast_outlives_its_task(bench: BroadcastsBench) -> None:
    bench.add_leads(ADA)
    broadcast = bench.work(bench.start())
    bench.calls.execute("DELETE FROM background_jobs")
    kept = bench.view(broadcast)
    assert (kept.status, kept.task_id, kept.counts.total) == ("completed", None, 1)
