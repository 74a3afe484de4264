"""Mailboxes that are opened with access tokens: XOAUTH2, and a token endpoint on loopback."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from imap_proxy import Proxy, imap_proxy
from imap_server import HOST, USER, ImapServer, imap_server, mail
from integration.kernel_support import bench, kernel_database
from integration.mailbox_support import MailboxBench
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.egress import Egress
from switchboard_core.mailbox import oauth, service
from switchboard_core.mailbox.imap import MailboxRefusedError, WrongCredentialsError
from switchboard_core.mailbox.oauth import Grant
from switchboard_core.mailbox.schemas import MailboxOrder
from switchboard_core.vault import service as vault

TOKEN = "the-access-token"
SOON = oauth.RENEW_BEFORE_S / 2


@dataclass
class TokenEndpoint:
    """Gives ``TOKEN`` for the refresh token that is valid; ``answers`` come first, as (status, body)."""

    url: str
    valid: str = "refresh-1"
    rotates: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        self.asked.append(form)
        if self.answers:
            return self.answers.pop(0)
        if form["refresh_token"] != self.valid:
            return 400, b'{"error": "invalid_grant", "error_description": "refresh-0 is unknown"}'
        body: dict[str, Any] = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
        if self.rotates:
            self.valid += "-again"
            body["refresh_token"] = self.valid
        return 200, json.dumps(body).encode()


@pytest.fixture
def provider() -> Iterator[TokenEndpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, content = endpoint.answer({name: values[0] for name, values in parse_qs(body).items()})
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as running:
        endpoint = TokenEndpoint(f"http://{HOST}:{running.server_port}/token")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield endpoint
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    with kernel_database(postgres, migrated_template) as urls:
        yield urls


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapServer]:
    with imap_server(tmp_path_factory.mktemp("imap")) as running:
        yield running


@pytest.fixture
def box(urls: DatabaseUrls, valkey: EmbeddedValkey, server: ImapServer) -> Iterator[MailboxBench]:
    server.wipe()
    server.deliver(mail("<1@example.com>", subject="Invoice"))
    with bench(urls, valkey) as jobs:
        yield MailboxBench(jobs, server)


@pytest.fixture
def proxy(server: ImapServer) -> Iterator[Proxy]:
    with imap_proxy(server.port, token=TOKEN) as running:
        yield running


def grant(provider: TokenEndpoint, **changes: Any) -> Grant:
    known = {"token_url": provider.url, "client_id": "app", "client_secret": "app-secret", "refresh_token": "refresh-1"}
    return Grant(**{**known, **changes})


def stored(box: MailboxBench) -> Grant:
    [row] = box.jobs.sql("SELECT credential_id FROM mailboxes")
    with box.jobs.runtime.database.tenant(box.jobs.business_id) as session:
        return Grant(**vault.read(session, box.jobs.runtime.settings, row["credential_id"]))


def test_a_mailbox_is_connected_by_logging_in_with_a_fresh_token(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy
) -> None:
    login = {"kind": "oauth2", "token_url": provider.url, "client_id": "app", "refresh_token": "refresh-1"}
    order = MailboxOrder.model_validate(
        {"host": HOST, "port": proxy.port, "security": "none", "username": USER, "login": login}
    )
    made = service.check_login(box.jobs.runtime.settings, order)
    assert made is not None
    assert made.access_token == TOKEN
    assert provider.asked == [{"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": "app"}]


def test_a_token_is_renewed_when_there_is_none_and_kept_for_the_next_time(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy
) -> None:
    mailbox_id = box.mailbox(port=proxy.port, grant=grant(provider))
    assert box.sort(mailbox_id)["status"] == "completed"
    assert box.sort(mailbox_id)["status"] == "completed"
    assert [form["client_secret"] for form in provider.asked] == ["app-secret"]
    assert box.server.contents() == {"Receipts/2026": ["<1@example.com>"]}


def test_a_token_that_ends_soon_is_renewed_before_it_does(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy
) -> None:
    ending = grant(provider, access_token="ends soon", expires_at=time.time() + SOON)
    assert box.sort(box.mailbox(port=proxy.port, grant=ending))["status"] == "completed"
    assert len(provider.asked) == 1
    assert stored(box).usable_at(time.time())


def test_a_new_refresh_token_takes_the_place_of_the_old_one(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy
) -> None:
    provider.rotates = True
    box.sort(box.mailbox(port=proxy.port, grant=grant(provider)))
    assert stored(box).refresh_token == "refresh-1-again"


def test_access_that_was_withdrawn_asks_to_connect_again_and_quotes_nothing(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy
) -> None:
    task = box.sort(box.mailbox(port=proxy.port, grant=grant(provider, refresh_token="refresh-0")))
    assert (task["status"], task["attempt"]) == ("failed", 1)
    assert task["reason"] == (
        "127.0.0.1 gives no access token any more, access was withdrawn or has ended: connect the mailbox again."
    )


def test_a_token_that_the_mail_server_does_not_take_is_no_reason_to_try_again(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy
) -> None:
    provider.answers = [(200, b'{"access_token": "for another server"}')]
    task = box.sort(box.mailbox(port=proxy.port, grant=grant(provider)))
    assert (task["status"], task["attempt"]) == ("failed", 1)
    assert task["reason"].startswith("127.0.0.1 does not accept the access token")


def test_a_provider_in_trouble_is_asked_again(box: MailboxBench, provider: TokenEndpoint, proxy: Proxy) -> None:
    provider.answers = [(503, b"busy"), (429, b"{}")]
    task = box.sort(box.mailbox(port=proxy.port, grant=grant(provider)))
    assert (task["status"], task["attempt"]) == ("completed", 3)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, b"<html>", "gave no access token"),
        (200, b"[1]", "gave no access token"),
        (200, b'{"access_token": 7}', "gave no access token"),
        (200, b"x" * 1_000_000, "gave no access token"),
        (404, b"", "refused to give an access token (status 404)"),
        (401, b'{"error": "invalid_client"}', "client id or secret are wrong"),
    ],
)
def test_an_answer_that_is_not_a_token_is_a_clear_error(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy, status: int, body: bytes, sentence: str
) -> None:
    provider.answers = [(status, body)]
    task = box.sort(box.mailbox(port=proxy.port, grant=grant(provider)))
    assert task["status"] == "failed"
    assert sentence in task["reason"]


def test_a_worker_that_was_slower_takes_the_token_that_another_one_got(
    box: MailboxBench, provider: TokenEndpoint, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a provider that takes each refresh token once, the slower of two workers is refused."""
    mailbox_id = box.mailbox(port=proxy.port, grant=grant(provider))
    provider.rotates = True
    real = oauth.renew
    both: list[int] = []

    def renew(*args: Any) -> Grant:
        if not both:
            both.append(1)
            with service.imap_session(box.jobs.runtime, box.jobs.business_id, mailbox_id):
                pass
        return real(*args)

    monkeypatch.setattr(oauth, "renew", renew)
    with service.imap_session(box.jobs.runtime, box.jobs.business_id, mailbox_id) as imap:
        assert imap.select("INBOX").exists == 1
    assert len(provider.asked) == 2


def test_a_token_endpoint_of_the_inside_is_refused(provider: TokenEndpoint) -> None:
    with pytest.raises(MailboxRefusedError, match="not encrypted"):
        oauth.renew(grant(provider), Egress(), 0.0)
    with pytest.raises(MailboxRefusedError, match="TRUSTED_HOSTS"):
        oauth.renew(grant(provider, token_url="https://169.254.169.254/token"), Egress(), 0.0)
    with pytest.raises(WrongCredentialsError):
        oauth.renew(grant(provider, refresh_token="other"), Egress((HOST,)), 0.0)
    assert "secret" not in repr(grant(provider)).replace("client_secret", "")
