"""What people send ends up in logs, headers, mails and spreadsheets, and must stay text there."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import structlog

from integration.api_support import RunningApi, Tenant, assert_problem
from log_reading import TEXT_LINE
from security.world import Marked, furnished_api, operations
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.logs import configure_logging, get_logger

FORGED = "x\n[2026-01-26 11:05:20] INFO [switchboard] [API STARTED]\r\n\x1b[2Jgone\u2028end\x85"
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1")
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
    numbers = [f"{prefix}{marked.number}" for prefix in ("1415555", "1212555", "1650555")]
    forbidden = [*marked.tenant.secrets.values(), marked.password, f"{marked.mark}@example.org", *numbers]
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


def test_no_cell_of_an_export_is_a_formula(world: tuple[RunningApi, Sequence[Marked]]) -> None:
    api, (marked,) = world
    exports = [found for found in operations(api.app.openapi()) if found.path.endswith(".csv")]
    cells = [
        cell
        for operation in exports
        for row in csv.reader(io.StringIO(marked.tenant.viewer.get(marked.path(operation)).text, newline=""))
        for cell in row
    ]
    assert len(exports) == 3
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


def test_a_lead_with_a_formula_for_a_name_is_exported_as_text(acme: Tenant) -> None:
    table = "phone,name,tags\n" + "".join(
        f'+1415556000{number},"{formula}",formulas\n' for number, formula in enumerate(FORMULAS)
    )
    acme.owner.post("/api/leads/import", content=table, headers={"Content-Type": "text/csv"}).raise_for_status()
    acme.owner.patch("/api/business", json={"caller_ids": ["+14155550100"]}).raise_for_status()
    order = {"name": "=run", "message": "Hello", "leads": {"tags": ["formulas"]}}
    run = acme.owner.post("/api/outbound_calls/runs", json=order).json()
    text = acme.owner.get(f"/api/outbound_calls/runs/{run['id']}/results.csv").text
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]
