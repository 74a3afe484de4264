"""Users, payments, mail account, template and receipts over the api."""

from collections.abc import Iterator
from typing import Any

import pytest

from integration.api_support import RunningApi, Tenant, assert_problem, fresh_api
from mail_server import PASSWORD, USER, MailServer, mail_server
from switchboard_api.logins import AT_ONCE
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.outbox.smtp import SmtpSession
from switchboard_core.receipts import service
from switchboard_core.receipts.template import DEFAULT_BODY

PAYMENT = {
    "amount": "49.90",
    "currency": "EUR",
    "description": "Subscription",
    "paid_at": "2026-01-26T11:05:20Z",
}


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(postgres, migrated_template, valkey) as api:
        yield api


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with mail_server(login=True) as running:
        yield running


@pytest.fixture
def acme(api: RunningApi) -> Tenant:
    return api.tenant()


def add_user(acme: Tenant, **changes: Any) -> int:
    answer = acme.agent.post("/api/users", json={"name": "Ada Moreno", "email": "ada@example.org", **changes})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def add_payment(acme: Tenant, user_id: int, **changes: Any) -> dict[str, Any]:
    answer = acme.agent.post("/api/payments", json={"user_id": user_id, **PAYMENT, **changes})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_users_are_added_shown_changed_and_listed(acme: Tenant) -> None:
    ids = [add_user(acme, email=f"user{number}@example.org") for number in range(3)]
    changed = acme.agent.put(f"/api/users/{ids[0]}", json={"name": "Ada", "email": "new@example.org"})
    assert changed.json()["email"] == "new@example.org"
    assert acme.viewer.get(f"/api/users/{ids[0]}").json() == changed.json()
    page = acme.viewer.get("/api/users", params={"limit": 2}).json()
    assert [user["id"] for user in page["items"]] == ids[:2]
    rest = acme.viewer.get("/api/users", params={"cursor": page["next_cursor"]}).json()
    assert [user["id"] for user in rest["items"]] == ids[2:]


@pytest.mark.parametrize("email", ["nobody", "a b@example.org", "a@example.org\nBcc: b@example.org", "a@-x.org", "a@x"])
def test_what_is_no_address_is_refused(acme: Tenant, email: str) -> None:
    answer = acme.agent.post("/api/users", json={"name": "Ada", "email": email})
    assert_problem(answer, 422, "Invalid request")


def test_payments_are_noted_with_the_decimals_of_their_currency(acme: Tenant) -> None:
    user_id = add_user(acme)
    euro, yen = add_payment(acme, user_id), add_payment(acme, user_id, amount="1200", currency="JPY")
    assert (euro["amount"], yen["amount"]) == ("49.90", "1200")
    assert (euro["receipt_id"], euro["receipt_state"]) == (None, None)
    refused = acme.agent.post("/api/payments", json={"user_id": user_id, **PAYMENT, "amount": "1.5", "currency": "JPY"})
    assert "JPY has 0 decimal places" in assert_problem(refused, 422)["detail"]
    found = acme.viewer.get("/api/payments", params={"user_id": user_id}).json()["items"]
    assert [payment["id"] for payment in found] == [euro["id"], yen["id"]]


def test_a_payment_of_nobody_is_refused(acme: Tenant, api: RunningApi) -> None:
    stranger = add_user(api.tenant("Rival"))
    answer = acme.agent.post("/api/payments", json={"user_id": stranger, **PAYMENT})
    assert assert_problem(answer, 404)["detail"] == f"There is no user {stranger}."


def test_the_mail_account_is_kept_without_ever_showing_its_password(acme: Tenant, server: MailServer) -> None:
    assert_problem(acme.viewer.get("/api/receipts/mail-account"), 404)
    order = server.account(username=USER, password=PASSWORD)
    connected = acme.owner.put("/api/receipts/mail-account", json=order)
    assert connected.status_code == 200, connected.text
    shown = acme.viewer.get("/api/receipts/mail-account")
    assert shown.json() == connected.json()
    assert shown.json()["has_password"]
    assert PASSWORD not in shown.text
    assert acme.owner.post("/api/receipts/mail-account/test").json() == {
        "ok": True,
        "smtp": "The mail server lets this account in.",
        "archive": None,
    }


def test_trying_a_slow_mail_account_takes_no_thread_of_other_requests(
    acme: Tenant, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use: list[float] = []
    acme.owner.put("/api/receipts/mail-account", json=server.account(username=USER, password=PASSWORD))
    monkeypatch.setattr(SmtpSession, "check", lambda _session: in_use.append(AT_ONCE.borrowed_tokens))
    assert acme.owner.post("/api/receipts/mail-account/test").json()["ok"]
    assert in_use == [1]


def test_a_password_that_is_left_out_stays_but_never_goes_to_another_server(acme: Tenant, server: MailServer) -> None:
    order = server.account(username=USER)
    acme.owner.put("/api/receipts/mail-account", json={**order, "password": PASSWORD})
    acme.owner.put("/api/receipts/mail-account", json={**order, "from_name": "Somebody else"})
    assert acme.owner.post("/api/receipts/mail-account/test").json()["ok"]
    acme.owner.put("/api/receipts/mail-account", json={**order, "host": "localhost"})
    answer = acme.owner.post("/api/receipts/mail-account/test")
    assert "has a user name but no password" in assert_problem(answer, 409)["detail"]


def test_a_wrong_password_and_a_wrong_archive_are_told(acme: Tenant, server: MailServer) -> None:
    archive = {"address": USER, "host": "127.0.0.1", "port": 9, "security": "none", "username": "x", "password": "y"}
    order = server.account(username=USER, password="wrong", archive=archive)
    acme.owner.put("/api/receipts/mail-account", json=order)
    found = acme.owner.post("/api/receipts/mail-account/test").json()
    assert not found["ok"]
    assert "refused user name or password" in found["smtp"]
    assert "cannot be reached" in found["archive"]


def test_a_mail_server_of_the_inside_is_refused(acme: Tenant) -> None:
    order = {"host": "10.0.0.1", "security": "none", "from_address": USER}
    acme.owner.put("/api/receipts/mail-account", json=order)
    assert "TRUSTED_HOSTS" in acme.owner.post("/api/receipts/mail-account/test").json()["smtp"]


def test_a_disconnected_account_is_gone_with_its_password(acme: Tenant, server: MailServer) -> None:
    acme.owner.put("/api/receipts/mail-account", json=server.account(username=USER, password=PASSWORD))
    assert acme.owner.delete("/api/receipts/mail-account").status_code == 204
    assert_problem(acme.owner.delete("/api/receipts/mail-account"), 404)


def test_a_broken_template_is_refused_with_line_and_reason(acme: Tenant) -> None:
    before = acme.viewer.get("/api/receipts/template").json()
    assert (before["body"], before["built_in"]) == (DEFAULT_BODY, True)
    broken = {"subject": "Receipt", "body": "<p>Hello</p>\n<p>{{ user.nmae }}</p>"}
    problem = assert_problem(acme.owner.put("/api/receipts/template", json=broken), 422, "Broken template")
    assert problem["detail"] == "body, line 2: There is no user.nmae; user has name, email."
    assert (problem["line"], problem["errors"][0]["field"]) == (2, "body.body")
    assert acme.viewer.get("/api/receipts/template").json() == before


def test_a_template_is_saved_and_previewed(acme: Tenant) -> None:
    order = {"subject": "Receipt {{ receipt.number }}", "body": "<h1>{{ business.name }}</h1><script>x</script>"}
    assert acme.owner.put("/api/receipts/template", json=order).json()["built_in"] is False
    page = acme.viewer.post("/api/receipts/template/preview")
    assert page.text == "<h1>Acme &amp; Söhne</h1><script>x</script>"
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    pdf = acme.viewer.post("/api/receipts/template/preview", params={"as": "pdf"}, json={**order, "body": "<p>a</p>"})
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.content.startswith(b"%PDF")


def test_a_receipt_is_sent_in_the_background_once_for_each_key(acme: Tenant) -> None:
    payment = add_payment(acme, add_user(acme))
    headers = {"Idempotency-Key": "receipt-1"}
    first, second = (
        acme.agent.post("/api/receipts/send", json={"payment_id": payment["id"]}, headers=headers) for _ in range(2)
    )
    assert (first.status_code, first.json()["job_type"]) == (202, "send_payment_receipt_job")
    assert second.json() == first.json()
    assert first.headers["location"] == f"/api/tasks/{first.json()['id']}"
    assert_problem(acme.agent.post("/api/receipts/send", json={"payment_id": 10**9}), 404)


def test_a_receipt_is_shown_read_and_not_sent_again_while_it_waits(acme: Tenant, api: RunningApi) -> None:
    user_id = add_user(acme)
    payment = add_payment(acme, user_id)
    with api.runtime.database.tenant(acme.id) as session:
        service.prepare(session, api.runtime.settings, user_id, payment["id"])
    listed = acme.viewer.get("/api/receipts", params={"state": "queued"}).json()["items"]
    assert [(receipt["payment_id"], receipt["state"]) for receipt in listed] == [(payment["id"], "queued")]
    assert acme.viewer.get("/api/receipts", params={"state": "uncertain"}).json()["items"] == []

    path = f"/api/receipts/{listed[0]['id']}"
    assert acme.viewer.get(path).json() == listed[0]
    assert acme.viewer.get(f"/api/payments/{payment['id']}").json()["receipt_id"] == listed[0]["id"]
    assert "49.90 EUR" in acme.viewer.get(f"{path}/document").text
    assert acme.viewer.get(f"{path}/document", params={"as": "pdf"}).content.startswith(b"%PDF")
    problem = assert_problem(acme.agent.post(f"{path}/resend"), 409, "Not to be sent again")
    assert problem["detail"] == "It is queued: only what failed, bounced or is uncertain can be sent again."


def test_all_receipts_are_deleted_in_the_background(acme: Tenant) -> None:
    answer = acme.owner.post("/api/receipts/delete-all")
    assert (answer.status_code, answer.json()["job_type"], answer.json()["total"]) == (202, "delete_receipts_all", 0)


def test_settings_and_the_great_deletion_are_the_owner_s(acme: Tenant, server: MailServer) -> None:
    for answer in (
        acme.agent.put("/api/receipts/mail-account", json=server.account()),
        acme.agent.put("/api/receipts/template", json={"subject": "a", "body": "b"}),
        acme.agent.post("/api/receipts/delete-all"),
        acme.viewer.post("/api/users", json={"name": "Ada", "email": "ada@example.org"}),
    ):
        assert_problem(answer, 403, "Role too low")


def test_what_changes_is_noted_in_the_audit_log(acme: Tenant, server: MailServer) -> None:
    payment = add_payment(acme, add_user(acme))
    acme.owner.put("/api/receipts/mail-account", json=server.account(username=USER, password=PASSWORD))
    acme.agent.post("/api/receipts/send", json={"payment_id": payment["id"]})
    acme.owner.post("/api/receipts/delete-all")
    log = acme.owner.get("/api/audit").json()["items"]
    noted = {event["action"] for event in log}
    assert {"user.created", "payment.created", "mail_account.connected", "receipt.sent", "receipts.deleted"} <= noted
    assert PASSWORD not in str(log)


def test_a_receipt_that_does_not_exist_is_not_found(acme: Tenant) -> None:
    for answer in (
        acme.viewer.get("/api/receipts/999999"),
        acme.viewer.get("/api/receipts/999999/document"),
        acme.agent.post("/api/receipts/999999/resend"),
    ):
        assert assert_problem(answer, 404)["detail"] == "There is no receipt 999999."
