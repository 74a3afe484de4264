"""What people send ends up in logs, headers, mails and spreadsheets, and must stay text there."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

import pytest
import structlog
from sqlalchemy import update

from integration.api_support import RunningApi, Tenant, assert_problem
from log_reading import TEXT_LINE
from security.world import Marked, furnished_api, operations
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.calls.models import CallAttempt, OutboundCallJob
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.logs import configure_logging, get_logger
from switchboard_core.mailbox.models import MailboxReceipt

FORGED = "x\n[2026-01-26 11:05:20] INFO [switchboard] [API STARTED]\r\n\x1b[2Jgone\u2028end\x85"
SPREADSHEET_SIGNS = ("=", "+", "-", "@", "\t", "\r")
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")
CRLF = "name\r\nBcc: evil@example.org"


@pytest.fixture(scope="module")
def world(
    postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey
) -> Iterator[tuple[RunningApi, Sequence[Marked]]]:
    with furnished_api(postgres, migrated_template, valkey, 1) as made:
        yield made


@pytest.fixture
def acme(world: tuple[RunningApi, Sequence[Marked]]) -> Tenant:
    return world[1][0].tenant


@contextmanager
def service_logging(log_format: str) -> Iterator[None]:
    """Logging as a service sets it up, and as it was afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("INFO", log_format)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()


# Logs


def test_no_value_and_no_error_forges_a_line_of_a_text_log(capsys: pytest.CaptureFixture[str]) -> None:
    with service_logging("text"):
        log = get_logger("switchboard_core.test")
        log.info("it happened", value=FORGED)
        try:
            raise ValueError(FORGED)
        except ValueError:
            log.exception("it failed")
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert sum(bool(TEXT_LINE.match(line)) for line in lines) == 2
    assert all(line.startswith("  ") for line in lines if not TEXT_LINE.match(line))
    assert all(sign.isprintable() or sign == "\n" for sign in printed)


def test_no_value_and_no_error_forges_a_line_of_a_json_log(capsys: pytest.CaptureFixture[str]) -> None:
    with service_logging("json"):
        try:
            raise ValueError(FORGED)
        except ValueError:
            get_logger("switchboard_core.test").exception("it failed", value=FORGED)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["value"] == FORGED


def test_no_secret_number_or_address_of_a_business_is_in_the_log(
    capsys: pytest.CaptureFixture[str],
    postgres: EmbeddedPostgres,
    migrated_template: str,
    valkey: EmbeddedValkey,
) -> None:
    with service_logging("json"), furnished_api(postgres, migrated_template, valkey, 1) as (_, (marked,)):
        for operation in operations_of(marked):
            marked.tenant.viewer.get(operation)
    printed = capsys.readouterr().out
    numbers = [phone.lstrip("+") for phone in (marked.lead_phone, marked.caller_id, marked.listed_phone)]
    addresses = [f"{marked.mark}@example.org", marked.lead_email]
    forbidden = [*marked.tenant.secrets.values(), marked.password, *addresses, *numbers]
    assert "leads imported" in printed
    assert [line for line in printed.splitlines() if any(private in line for private in forbidden)] == []


def operations_of(marked: Marked) -> list[str]:
    document = marked.tenant.owner.get("/openapi.json").json()
    return [marked.path(found) for found in operations(document) if found.method == "get" and found.secured]


# Headers and mails


@pytest.mark.parametrize("name", [CRLF, "a\x00b", "\x1b[31m"])
def test_no_name_or_address_of_a_sender_brings_a_header_of_its_own(acme: Tenant, name: str) -> None:
    account = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "a@example.org"}
    for change in ({"from_name": name}, {"from_address": f"{name}@example.org"}, {"username": name}):
        answer = acme.owner.put("/api/receipts/mail-account", json={**account, **change})
        assert_problem(answer, 422)
        assert "Bcc" not in answer.text


def test_no_subject_brings_a_header_of_its_own(acme: Tenant) -> None:
    broadcast = {"name": "x", "channel": "email", "subject": CRLF, "body": "Hello", "filter": {"all": True}}
    assert_problem(acme.owner.post("/api/broadcasts/preview", json=broadcast), 422)


def test_no_address_of_a_person_brings_a_header_of_its_own(acme: Tenant) -> None:
    assert_problem(acme.owner.post("/api/users", json={"name": "Ada", "email": f"a@example.org{CRLF}"}), 422)
    assert_problem(acme.owner.post("/api/users", json={"name": CRLF, "email": "a@example.org"}), 422)


def test_no_download_takes_its_filename_from_what_people_send(world: tuple[RunningApi, Sequence[Marked]]) -> None:
    api, (marked,) = world
    downloads = [found for found in operations(api.app.openapi()) if found.method == "get" and found.secured]
    named = []
    for operation in downloads:
        answer = marked.tenant.owner.get(marked.path(operation))
        if found := answer.headers.get("content-disposition"):
            named.append(operation.path)
            assert marked.mark not in found
    assert len(named) >= 3


# Spreadsheets


def formulas_into_everything(api: RunningApi, marked: Marked, formula: str) -> None:
    """A formula in each text of the rows that exports are made of, past every check of what comes in."""
    with api.runtime.database.tenant(marked.tenant.id) as session:
        session.execute(update(OutboundCallJob).values(reason=formula))
        session.execute(update(CallAttempt).values(answered_by=formula))
        failure = {"item": formula, "message": formula}
        session.execute(update(BackgroundJob).values(errors=[failure], failed=1))
        session.add(
            MailboxReceipt(
                business_id=marked.tenant.id,
                mailbox_id=marked.ids["mailbox_id"],
                identity=formula.encode(),
                folder=formula,
                sender_name=formula,
                sender_address=formula,
                subject=formula,
                amount=Decimal("1.00"),
                currency="EUR",
                attachment_name=formula,
                confidence=Decimal("0.90"),
            )
        )


def exported(api: RunningApi, marked: Marked) -> dict[str, list[dict[str, str]]]:
    """The rows of every CSV that the api has, by its path."""
    exports = [found for found in operations(api.app.openapi()) if found.path.endswith(".csv")]
    answers = {found.path: marked.tenant.viewer.get(marked.path(found)).raise_for_status() for found in exports}
    return {path: list(csv.DictReader(io.StringIO(answer.text, newline=""))) for path, answer in answers.items()}


COLUMNS = {
    "/api/mailbox-receipts.csv": ("sender_name", "sender_address", "subject", "attachment_name"),
    "/api/outbound_calls/runs/{run_id}/results.csv": ("reason", "answered_by"),
    "/api/tasks/{task_id}/errors.csv": ("item", "message"),
}
"""Of each export, what somebody else may have written: names, reasons, what the carrier and mails say."""


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_any_export_is_a_formula(world: tuple[RunningApi, Sequence[Marked]], formula: str) -> None:
    api, (marked,) = world
    formulas_into_everything(api, marked, formula)
    tables = exported(api, marked)
    assert tables.keys() == COLUMNS.keys(), "a new export needs rows here"
    for path, columns in COLUMNS.items():
        row = tables[path][0]
        assert {column: row[column] for column in columns} == dict.fromkeys(columns, f"'{formula}")
    cells = [cell for rows in tables.values() for row in rows for cell in row.values()]
    assert [cell for cell in cells if cell.startswith(SPREADSHEET_SIGNS)] == []


def test_a_number_in_an_export_is_text_and_not_a_sum(world: tuple[RunningApi, Sequence[Marked]]) -> None:
    api, (marked,) = world
    (row,) = exported(api, marked)["/api/outbound_calls/runs/{run_id}/results.csv"]
    assert row["to_number"] == f"'{marked.lead_phone}"
