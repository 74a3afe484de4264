"""A webhook that somebody recorded and sends again: its signature is good, and it changes nothing more."""

import itertools
import uuid
from collections.abc import Iterator

import httpx
import pytest
from twilio.request_validator import RequestValidator

from integration.api_support import TOKEN, RunningApi, assert_problem
from security.world import Marked, furnished_api, rows_of
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.broadcasts.models import BroadcastRecipient
from switchboard_core.calls.models import CallAttempt, OutboundCallJob
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.states import Channel

SID = "CA" + "7" * 32
SOMEBODY = "+14155550198"
World = tuple[RunningApi, Marked, uuid.UUID]
_numbers = itertools.count(5_560_000)


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[World]:
    """A business with a call under way."""
    with furnished_api(postgres, migrated_template, valkey, 1) as (api, (acme,)):
        yield api, acme, call_under_way(api, acme)


def call_under_way(api: RunningApi, acme: Marked) -> uuid.UUID:
    with api.runtime.database.tenant(acme.tenant.id) as session:
        run_id = int(acme.ids["run_id"])
        job = OutboundCallJob(
            business_id=acme.tenant.id, run_id=run_id, to_number="+14155550199", timezone="UTC", status="dialing"
        )
        session.add(job)
        session.flush()
        attempt = CallAttempt(
            business_id=acme.tenant.id,
            run_id=run_id,
            job_id=job.id,
            number=1,
            account_sid=api.runtime.settings.twilio_account_sid,
            from_number="+12125550100",
            to_number=job.to_number,
            call_sid=SID,
        )
        session.add(attempt)
        session.flush()
        return attempt.id


def text_under_way(api: RunningApi, acme: Marked) -> int:
    """A recipient of a broadcast whose message has just left."""
    number = f"+1415{next(_numbers)}"
    with api.runtime.database.tenant(acme.tenant.id) as session:
        message = outbox.put(session, channel=Channel.SMS, dedupe_key=uuid.uuid4().hex, recipient=number)
        outbox.claim(session, message.id, lease_s=60.0)
        recipient = BroadcastRecipient(
            business_id=acme.tenant.id,
            broadcast_id=int(acme.ids["broadcast_id"]),
            address=number,
            from_number=f"+1212555{acme.number}",
            message_id=message.id,
        )
        session.add(recipient)
        session.flush()
        return recipient.id


def send(api: RunningApi, path: str, form: dict[str, str], signed_path: str | None = None) -> httpx.Response:
    """Send a form to a path with the signature that the carrier makes for it, or for another path."""
    url = api.runtime.settings.public_url + (signed_path or path)
    signature = RequestValidator(TOKEN).compute_signature(url, form)
    return api.client().post(path, data=form, headers={"X-Twilio-Signature": signature})


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (
            "recording",
            {"RecordingSid": "RE" + "7" * 32, "RecordingStatus": "completed", "RecordingUrl": "http://x/RE7"},
        ),
        ("amd", {"AnsweredBy": "machine_start"}),
        ("status", {"CallStatus": "ringing", "SequenceNumber": "1"}),
        ("status", {"CallStatus": "completed", "SequenceNumber": "3", "CallDuration": "7"}),
        ("status", {"CallStatus": "busy", "SequenceNumber": "2"}),
    ],
    ids=["recording", "machine", "ringing", "completed", "busy after completed"],
)
def test_a_webhook_that_is_replayed_changes_nothing_more(world: World, kind: str, form: dict[str, str]) -> None:
    api, acme, attempt = world
    path = f"/webhooks/twilio/{kind}?attempt={attempt}"
    form = {"CallSid": SID, **form}
    assert send(api, path, form).status_code == 204
    once = rows_of(api, acme.tenant.id)
    for _ in range(3):
        assert send(api, path, form).status_code == 204
    assert rows_of(api, acme.tenant.id) == once


@pytest.mark.parametrize(
    "reports",
    [
        ["sent"],
        ["sent", "delivered"],
        ["delivered", "sent"],
        ["sent", "undelivered 30003"],
        ["undelivered 30003", "sent"],
        ["failed 21610"],
    ],
    ids=", ".join,
)
def test_a_delivery_report_that_is_replayed_changes_nothing_more(world: World, reports: list[str]) -> None:
    api, acme, _ = world
    path = f"/webhooks/twilio/message-status?recipient={text_under_way(api, acme)}"
    sid = f"SM{uuid.uuid4().hex}"
    forms = [
        {"MessageSid": sid, "MessageStatus": word, "ErrorCode": code}
        for word, _, code in (report.partition(" ") for report in reports)
    ]
    for form in forms:
        assert send(api, path, form).status_code == 204
    once = rows_of(api, acme.tenant.id)
    for form in (*forms, *reversed(forms)):
        assert send(api, path, form).status_code == 204
    assert rows_of(api, acme.tenant.id) == once


@pytest.mark.parametrize("words", [["START", "STOP"], ["STOP", "START"], ["STOP"]], ids=", then ".join)
def test_what_somebody_wrote_counts_once_however_often_it_is_replayed(world: World, words: list[str]) -> None:
    api, acme, _ = world
    path, ours = "/webhooks/twilio/message", f"+1212555{acme.number}"
    forms = [{"MessageSid": f"SM{uuid.uuid4().hex}", "From": SOMEBODY, "To": ours, "Body": word} for word in words]
    before = rows_of(api, acme.tenant.id)
    for form in forms:
        assert send(api, path, form).status_code == 200
    once = rows_of(api, acme.tenant.id)
    assert once["audit_events"] != before["audit_events"], "they counted"
    for form in forms:
        assert send(api, path, form).status_code == 200
    assert rows_of(api, acme.tenant.id) == once


def test_a_replayed_report_of_an_opt_out_takes_no_later_start_back(world: World) -> None:
    api, acme, _ = world
    recipient, sid = text_under_way(api, acme), f"SM{uuid.uuid4().hex}"
    path = f"/webhooks/twilio/message-status?recipient={recipient}"
    report = {"MessageSid": sid, "MessageStatus": "failed", "ErrorCode": "21610"}
    assert send(api, path, report).status_code == 204
    with api.runtime.database.tenant(acme.tenant.id) as session:
        number = session.get_one(BroadcastRecipient, recipient).address or ""
    start = {"MessageSid": f"SM{uuid.uuid4().hex}", "From": number, "To": f"+1212555{acme.number}", "Body": "START"}
    before = rows_of(api, acme.tenant.id)
    assert send(api, "/webhooks/twilio/message", start).status_code == 200
    once = rows_of(api, acme.tenant.id)
    assert once["opt_outs"] != before["opt_outs"], "it counted"
    assert send(api, path, report).status_code == 204
    assert rows_of(api, acme.tenant.id) == once


def test_a_signature_is_good_for_its_own_attempt_alone(world: World) -> None:
    api, _, attempt = world
    path = f"/webhooks/twilio/status?attempt={attempt}"
    answer = send(api, f"/webhooks/twilio/status?attempt={uuid.uuid4()}", {"CallSid": SID}, signed_path=path)
    assert_problem(answer, 403, "Wrong signature")


def test_a_signature_is_good_for_its_own_form_alone(world: World) -> None:
    api, _, attempt = world
    path = f"/webhooks/twilio/status?attempt={attempt}"
    signature = RequestValidator(TOKEN).compute_signature(api.runtime.settings.public_url + path, {"CallSid": SID})
    answer = api.client().post(
        path, data={"CallSid": SID, "CallStatus": "completed"}, headers={"X-Twilio-Signature": signature}
    )
    assert_problem(answer, 403, "Wrong signature")
