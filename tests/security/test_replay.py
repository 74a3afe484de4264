"""A webhook that somebody recorded and sends again: its signature is good, and it changes nothing more."""

import uuid
from collections.abc import Iterator

import httpx
import pytest
from twilio.request_validator import RequestValidator

from integration.api_support import TOKEN, RunningApi, assert_problem
from security.world import Marked, furnished_api, rows_of
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls.models import CallAttempt, OutboundCallJob

SID = "CA" + "7" * 32
World = tuple[RunningApi, Marked, uuid.UUID]


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
