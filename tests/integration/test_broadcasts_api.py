"""The routes of broadcasts, opt-outs and message webhooks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from twilio.request_validator import RequestValidator
from typer.testing import CliRunner

from integration.api_support import TOKEN, RunningApi, Tenant, assert_problem, fresh_api
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_cli.main import app
from switchboard_core.leads.models import Lead
from switchboard_core.tenancy.models import Role

SMS = {"channel": "sms", "body": "Hello {first_name|there}", "filter": {"all": True}}
ORDER = {"name": "Spring", **SMS}


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as running:
        yield running


@pytest.fixture
def tenant(api: RunningApi) -> Tenant:
    """A business with a number to send from and three leads, two of which share an e-mail address."""
    made = api.tenant()
    made.owner.patch("/api/business", json={"caller_ids": ["+14155550100"]}).raise_for_status()
    with api.runtime.database.tenant(made.id) as session:
        for number, (name, email) in enumerate(
            [("Ada Moreno", "ada@example.org"), (None, "ADA@example.org"), ("Cleo", None)]
        ):
            session.add(Lead(business_id=made.id, phone=f"+1415555010{number}", name=name, email=email, timezone="UTC"))
    return made


def signed(api: RunningApi, path: str, form: dict[str, str]) -> httpx.Response:
    """A webhook as the carrier sends it."""
    url = f"{api.runtime.settings.public_url}{path}"
    signature = RequestValidator(TOKEN).compute_signature(url, form)
    return api.client().post(path, data=form, headers={"X-Twilio-Signature": signature})


def test_a_preview_counts_by_reason_and_shows_the_first_text(tenant: Tenant) -> None:
    tenant.agent.post("/api/opt-outs", json={"channel": "sms", "addresses": ["+1 415 555 0102"]}).raise_for_status()
    tenant.agent.post("/api/do-not-call", json={"phones": ["+14155550101"]}).raise_for_status()
    assert tenant.viewer.post("/api/broadcasts/preview", json=SMS).json() == {
        "selected": 3,
        "would_be_sent": 1,
        "skipped": {"opted_out": 1, "do_not_call": 1},
        "sample": "Hello Ada",
        "sample_subject": None,
        "sample_segments": 1,
    }


def test_a_preview_of_mails_counts_addresses(tenant: Tenant) -> None:
    content = {**SMS, "channel": "email", "subject": "For {name}"}
    found = tenant.viewer.post("/api/broadcasts/preview", json=content).json()
    assert (found["would_be_sent"], found["skipped"]) == (1, {"duplicate": 1, "no_address": 1})
    assert (found["sample_subject"], found["sample_segments"]) == ("For Ada Moreno", None)


def test_a_preview_of_nobody_is_all_zeros(tenant: Tenant) -> None:
    found = tenant.viewer.post("/api/broadcasts/preview", json={**SMS, "filter": {"tags": ["nobody"]}}).json()
    assert (found["selected"], found["would_be_sent"], found["sample"]) == (0, 0, None)


def test_a_broadcast_is_accepted_with_its_task_once_per_key(tenant: Tenant) -> None:
    headers = {"Idempotency-Key": "spring-1"}
    made = [tenant.agent.post("/api/broadcasts", json=ORDER, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in made] == [202, 202]
    assert made[0].json() == made[1].json()
    body = made[0].json()
    assert made[0].headers["Location"] == f"/api/broadcasts/{body['id']}"
    assert (body["status"], body["per_minute"]) == ("pending", 60.0)
    task = tenant.viewer.get(f"/api/tasks/{body['task_id']}").json()
    assert (task["job_type"], task["total"]) == ("broadcast", 3)
    assert len(tenant.viewer.get("/api/broadcasts").json()["items"]) == 1


def test_a_broadcast_never_goes_faster_than_the_installation_allows(tenant: Tenant) -> None:
    fast = tenant.agent.post("/api/broadcasts", json={**ORDER, "per_minute": 50_000}).json()
    slow = tenant.agent.post("/api/broadcasts", json={**ORDER, "per_minute": 5}).json()
    assert (fast["per_minute"], slow["per_minute"]) == (60.0, 5.0)


def test_cancelling_the_task_cancels_the_broadcast(tenant: Tenant) -> None:
    made = tenant.agent.post("/api/broadcasts", json=ORDER).json()
    cancelled = tenant.agent.post(f"/api/tasks/{made['task_id']}/cancel").json()
    assert cancelled["cancel_requested"]


def test_a_filter_of_nobody_is_refused_with_what_to_do(tenant: Tenant) -> None:
    answer = tenant.agent.post("/api/broadcasts", json={**ORDER, "filter": {"tags": ["nobody"]}})
    assert "nothing was created" in assert_problem(answer, 422, "Broadcast refused")["detail"]


def test_a_placeholder_that_is_not_known_is_refused(tenant: Tenant) -> None:
    answer = tenant.agent.post("/api/broadcasts", json={**ORDER, "body": "Hello {nmae}"})
    assert "{nmae} is not known" in assert_problem(answer, 422, "Invalid request")["detail"]


def test_viewers_look_and_do_not_send(tenant: Tenant) -> None:
    assert_problem(tenant.viewer.post("/api/broadcasts", json=ORDER), 403)
    assert_problem(tenant.viewer.post("/api/opt-outs", json={"channel": "sms", "addresses": ["+14155550100"]}), 403)
    assert_problem(tenant.agent.delete(f"/api/opt-outs/sms/{'0' * 64}"), 403)


def test_another_business_s_broadcast_does_not_exist(api: RunningApi, tenant: Tenant) -> None:
    made = tenant.agent.post("/api/broadcasts", json=ORDER).json()
    stranger = api.tenant("Rival")
    assert_problem(stranger.owner.get(f"/api/broadcasts/{made['id']}"), 404)
    assert_problem(stranger.owner.get(f"/api/broadcasts/{made['id']}/recipients"), 404)
    assert stranger.owner.get("/api/broadcasts").json()["items"] == []


def test_opt_outs_are_listed_without_addresses_and_taken_off_by_owners(tenant: Tenant) -> None:
    order = {
        "channel": "email",
        "addresses": ["Ada@Example.org", "ben@example.org", "ada@example.org"],
        "reason": "fax",
    }
    entries = tenant.agent.post("/api/opt-outs", json=order).json()["items"]
    assert [entry["reason"] for entry in entries] == ["fax", "fax"]
    pages = tenant.viewer.get("/api/opt-outs", params={"channel": "email", "limit": 1}).json()
    rest = tenant.viewer.get("/api/opt-outs", params={"channel": "email", "cursor": pages["next_cursor"]}).json()
    assert {entry["id"] for entry in (*pages["items"], *rest["items"])} == {entry["id"] for entry in entries}
    assert "example.org" not in str((pages, rest))
    gone = tenant.owner.delete(f"/api/opt-outs/email/{entries[0]['id']}")
    assert gone.status_code == 204
    assert_problem(tenant.owner.delete(f"/api/opt-outs/email/{entries[0]['id']}"), 404)
    assert tenant.viewer.get("/api/opt-outs", params={"channel": "sms"}).json()["items"] == []


@pytest.mark.parametrize(("channel", "wrong"), [("sms", "555"), ("email", "nobody")])
def test_a_wrong_address_is_named_by_its_place(tenant: Tenant, channel: str, wrong: str) -> None:
    good = {"sms": "+14155550100", "email": "ada@example.org"}[channel]
    answer = tenant.agent.post("/api/opt-outs", json={"channel": channel, "addresses": [good, wrong]})
    assert assert_problem(answer, 422)["errors"][0]["field"] == "body.addresses.1"


def test_what_was_done_is_in_the_audit_log(tenant: Tenant) -> None:
    tenant.agent.post("/api/broadcasts", json=ORDER).raise_for_status()
    tenant.agent.post("/api/opt-outs", json={"channel": "sms", "addresses": ["+14155550100"]}).raise_for_status()
    actions = {event["action"] for event in tenant.owner.get("/api/audit").json()["items"]}
    assert {"broadcast.started", "opt_outs.added"} <= actions


# Webhooks


def test_an_unsigned_webhook_is_refused(api: RunningApi) -> None:
    for path in ("message-status", "message"):
        assert_problem(api.client().post(f"/webhooks/twilio/{path}", data={"Body": "STOP"}), 403, "Wrong signature")


@pytest.mark.parametrize("recipient", ["123456789", "x", "9" * 30, ""])
def test_a_callback_about_somebody_unknown_is_acknowledged(api: RunningApi, recipient: str) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    assert signed(api, f"/webhooks/twilio/message-status?recipient={recipient}", form).status_code == 204


def test_a_stop_opts_out_at_the_business_of_the_number(api: RunningApi, tenant: Tenant) -> None:
    form = {"MessageSid": f"SM{1:032x}", "From": "+14155550101", "To": "+14155550100", "Body": " stop "}
    answer = signed(api, "/webhooks/twilio/message", form)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    (entry,) = tenant.viewer.get("/api/opt-outs", params={"channel": "sms"}).json()["items"]
    assert entry["reason"] == "answered STOP"
    signed(api, "/webhooks/twilio/message", {**form, "MessageSid": f"SM{2:032x}", "Body": "Start"})
    assert tenant.viewer.get("/api/opt-outs", params={"channel": "sms"}).json()["items"] == []


# The command line


def command(api: RunningApi, tenant: Tenant, *words: str) -> Any:
    """What ``switchboard broadcasts …`` answers as JSON."""
    connection = ("--url", api.url, "--api-key", tenant.secrets[Role.AGENT], "--json")
    with capture_logs():  # of the api, which writes to the same standard output here
        result = CliRunner().invoke(app, ["broadcasts", *words, *connection])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_command_line_previews_sends_lists_and_shows(api: RunningApi, tenant: Tenant, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Hello {name|there}")
    assert command(api, tenant, "preview", "--body-file", str(text), "--all")["would_be_sent"] == 3
    made = command(api, tenant, "send", "Spring", "--body", "Hello", "--per-minute", "5", "--all")
    assert [found["id"] for found in command(api, tenant, "list")] == [made["id"]]
    shown = command(api, tenant, "show", str(made["id"]), "--recipients", "failed")
    assert (shown["name"], shown["per_minute"], shown["recipients"]) == ("Spring", 5.0, [])
    (entry,) = command(api, tenant, "opt-outs", "--add", "+14155550102", "--reason", "asked")
    assert command(api, tenant, "opt-outs") == [entry]


@pytest.mark.parametrize("words", [("--all",), ("--body", "a", "--body-file", "b", "--all")])
def test_the_command_line_wants_the_text_once(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["broadcasts", "preview", *words])
    assert (result.exit_code, "with --body, or with --body-file" in result.output) == (2, True)


@pytest.mark.parametrize("name", ["preview", "send", "list", "show", "opt-outs"])
def test_every_command_has_an_example_and_speaks_json(name: str) -> None:
    told = CliRunner().invoke(app, ["broadcasts", name, "--help"], env={"COLUMNS": "200"}).stdout
    assert f"switchboard broadcasts {name}" in told.partition("Example: ")[2]
    assert "--json" in told
