"""Receipts from the command line, against a real api."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from integration.api_support import RunningApi, fresh_api
from mail_server import PASSWORD, USER, MailServer, mail_server
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_cli.main import app
from switchboard_core.receipts import service
from switchboard_core.tenancy.models import Role


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    # The api runs in this process, and what it logs is no part of what a command prints.
    with capture_logs(), fresh_api(postgres, migrated_template, valkey) as api:
        yield api


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with mail_server(login=True) as running:
        yield running


@dataclass(frozen=True)
class Receipts:
    """``switchboard receipts`` of a business."""

    business_id: int
    env: dict[str, str]

    def __call__(self, *arguments: str) -> Result:
        result = CliRunner().invoke(app, ["receipts", *arguments], env=self.env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def ok(self, *arguments: str) -> str:
        """What a command that succeeds prints."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
def receipts(api: RunningApi) -> Receipts:
    tenant = api.tenant()
    env = {
        "SWITCHBOARD_URL": api.url,
        "SWITCHBOARD_API_KEY": tenant.secrets[Role.OWNER],
        "SWITCHBOARD_SMTP_PASSWORD": PASSWORD,
    }
    return Receipts(tenant.id, env)


def table(printed: str) -> list[list[str]]:
    """The rows of what was printed into a pipe, without their header."""
    return [line.split("\t") for line in printed.splitlines()[1:]]


def number(printed: str) -> str:
    """The id in a printed record."""
    return dict(line.split("\t", 1) for line in printed.splitlines())["id"]


def test_a_user_pays_and_the_receipt_is_asked_for(receipts: Receipts) -> None:
    user = number(receipts.ok("add-user", "Ada Moreno", "ada@example.org"))
    payment = number(receipts.ok("add-payment", user, "49.90", "EUR", "Subscription", "--send"))
    receipts.ok("change-user", user, "Ada Moreno", "new@example.org")
    assert [row[:3] for row in table(receipts.ok("users"))] == [[user, "Ada Moreno", "new@example.org"]]
    assert [row[:4] for row in table(receipts.ok("payments", "--user", user))] == [[payment, user, "49.90", "EUR"]]
    assert "send_payment_receipt_job" in receipts.ok("send", payment)


def test_the_account_is_connected_tried_and_disconnected_without_showing_its_password(
    receipts: Receipts, server: MailServer
) -> None:
    where = ("127.0.0.1", USER, "--port", str(server.port), "--security", "none")
    assert PASSWORD not in receipts.ok("connect", *where, "--user", USER)
    assert "has password\tyes" in receipts.ok("account")
    assert "lets this account in" in receipts.ok("test-account")
    receipts.ok("connect", *where)
    assert receipts("test-account").exit_code == 0
    receipts.ok("disconnect")
    assert receipts("account").exit_code == 1


def test_an_archive_needs_its_server(receipts: Receipts) -> None:
    refused = receipts("connect", "127.0.0.1", USER, "--archive", "archive@example.com")
    assert (refused.exit_code, "add --archive-host" in refused.output) == (2, True)


def test_a_template_is_changed_and_previewed(receipts: Receipts, tmp_path: Path) -> None:
    page, broken = tmp_path / "receipt.html", tmp_path / "broken.html"
    page.write_text("<h1>{{ receipt.number }}</h1>")
    broken.write_text("<p>\n{{ nope }}</p>")
    receipts.ok("set-template", str(page))
    assert receipts.ok("template").strip() == "<h1>{{ receipt.number }}</h1>"
    for name, start in (("preview.pdf", b"%PDF"), ("preview.html", b"<h1>R-000007</h1>")):
        receipts.ok("preview", str(tmp_path / name))
        assert (tmp_path / name).read_bytes().startswith(start)
    refused = receipts("preview", str(tmp_path / "x.pdf"), "--template", str(broken))
    assert "body, line 2: There is no 'nope'" in refused.output


def test_receipts_are_listed_saved_resent_and_deleted(receipts: Receipts, api: RunningApi, tmp_path: Path) -> None:
    user = number(receipts.ok("add-user", "Ada Moreno", "ada@example.org"))
    payment = number(receipts.ok("add-payment", user, "49.90", "EUR", "Subscription"))
    with api.runtime.database.tenant(receipts.business_id) as session:
        service.prepare(session, api.runtime.settings, int(user), int(payment))
    listed: list[Any] = table(receipts.ok("list", "--state", "queued"))
    receipt = listed[0][0]
    assert listed[0][:4] == [receipt, payment, user, "queued"]
    assert "state\tqueued" in receipts.ok("show", receipt)
    receipts.ok("save", receipt, str(tmp_path / "receipt.pdf"))
    assert (tmp_path / "receipt.pdf").read_bytes().startswith(b"%PDF")
    assert "only what failed, bounced or is uncertain" in receipts("resend", receipt).output
    assert "delete_receipts_all" in receipts.ok("delete-all", "--yes")
    assert receipts("delete-all").exit_code == 1
