"""Broadcasts by e-mail through a real SMTP server: once, with a link out, and never to who took it."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from integration.broadcasts_support import BroadcastsBench, broadcasts_bench
from mail_server import (
    LOST_AFTER_ACCEPTING,
    NO_RELAY,
    NO_SUCH_USER,
    PUT_OFF,
    QUOTA_USED_UP,
    SENDER_REFUSED,
    Answer,
    Mail,
    MailServer,
    mail_server,
)
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.broadcasts import opt_outs
from switchboard_core.broadcasts.schemas import BroadcastView
from switchboard_core.broadcasts.service import BroadcastRefusedError
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.outbox.states import Channel

ADA, BEN, CLEO = "ada@example.org", "ben@example.org", "cleo@example.org"
SETTINGS = {
    "smtp_timeout_seconds": 5,
    "smtp_answer_timeout_seconds": 5,
    "trusted_hosts": "127.0.0.1",
    "outbox_max_tries": 4,
}


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[BroadcastsBench]:
    with broadcasts_bench(postgres, migrated_template, valkey, **SETTINGS) as bench:
        yield bench


@pytest.fixture(scope="module")
def running() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def mails(running: MailServer) -> MailServer:
    running.wipe()
    return running


@pytest.fixture
def bench(servers: BroadcastsBench, mails: MailServer) -> BroadcastsBench:
    servers.reset().connect(**mails.account())
    return servers


def start(bench: BroadcastsBench, **changes: Any) -> BroadcastView:
    return bench.start(**{"channel": "email", "subject": "News for {name}", "body": "Dear {name}, hello.", **changes})


def link_of(mail: Mail) -> str:
    """The unsubscribe link in a mail's header."""
    found = re.fullmatch(r"<(http.+/u/[A-Za-z0-9_-]{32})>", str(mail.message["List-Unsubscribe"]))
    assert found is not None
    return found[1]


def recipients_of(mails: MailServer) -> list[str]:
    return sorted(address for mail in mails.accepted for address in mail.recipients)


def test_every_address_gets_one_mail_with_a_way_out(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA, BEN)
    broadcast = bench.work(start(bench))
    assert (broadcast.status, broadcast.counts.sent) == ("completed", 2)
    assert recipients_of(mails) == [ADA, BEN]
    (mail,) = mails.to(ADA)
    message = mail.message
    assert (message["Subject"], message["To"]) == ("News for Lead 0000", ADA)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    body = message.get_content()
    assert body.startswith("Dear Lead 0000, hello.")
    assert link_of(mail) in body
    assert link_of(mail) != link_of(mails.to(BEN)[0])
    assert mails.connections == 1


def test_one_address_of_several_leads_gets_one_mail(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA, " ADA@example.org", "not an address", None, BEN)
    broadcast = bench.work(start(bench))
    assert recipients_of(mails) == [ADA, BEN]
    assert broadcast.counts.skipped_by_reason == {"duplicate": 1, "no_address": 2}
    assert (broadcast.counts.total, bench.task(broadcast)["done"]) == (5, 5)


def test_a_click_on_the_link_changes_nothing_and_its_button_opts_out(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA, BEN)
    bench.work(start(bench))
    link = link_of(mails.to(ADA)[0])
    page = httpx.get(link)
    assert (page.status_code, "Get no more of these messages from Acme?" in page.text) == (200, True)
    assert bench.calls.value("SELECT count(*) FROM opt_outs") == 0
    for _ in range(2):
        done = httpx.post(link, data={"List-Unsubscribe": "One-Click"})
        assert (done.status_code, "You get no more of these messages" in done.text) == (200, True)
    mails.wipe()
    bench.work(start(bench))
    assert recipients_of(mails) == [BEN]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_link_that_nobody_was_sent_is_a_page_that_says_so(bench: BroadcastsBench, method: str) -> None:
    url = f"{bench.calls.runtime.settings.public_url}/u/{'x' * 32}"
    page = httpx.request(method, url)
    assert (page.status_code, "This link is not known" in page.text) == (404, True)
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_who_unsubscribes_between_two_mails_gets_none(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA, BEN)
    broadcast = start(bench)
    bench.to_sending(broadcast)
    bench.slice(broadcast, budget_s=0.0)
    with bench.calls.session() as session:
        opt_outs.add(session, Channel.EMAIL, ["Ben@Example.org"], reason="requested")
    bench.work(broadcast)
    assert recipients_of(mails) == [ADA]


def test_an_opt_out_of_texts_is_none_of_mails(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA)
    bench.text_us("+14155580000", "STOP")
    bench.work(start(bench))
    assert recipients_of(mails) == [ADA]


def test_a_lead_that_is_gone_for_good_leaves_no_address_and_its_link_still_works(
    bench: BroadcastsBench, mails: MailServer
) -> None:
    bench.add_addresses(ADA)
    broadcast = bench.work(start(bench))
    bench.calls.execute("UPDATE leads SET deleted_at = now() - interval '1 year'")
    assert bench.calls.sweep.purge_deleted_leads() == 1
    left = bench.calls.rows("SELECT r.*, m.recipient FROM broadcast_recipients r, outgoing_messages m")
    assert "example.org" not in str(left)
    assert bench.view(broadcast).counts.sent == 1
    httpx.post(link_of(mails.to(ADA)[0])).raise_for_status()
    bench.add_addresses(ADA)
    assert bench.work(start(bench)).counts.skipped_by_reason == {"opted_out": 1}


def test_an_address_that_bounces_is_an_error_of_its_own(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA, BEN)
    mails.plan(NO_SUCH_USER)
    broadcast = bench.work(start(bench))
    task = bench.task(broadcast)
    assert (task["done"], task["failed"], broadcast.counts.bounced) == (1, 1, 1)
    assert ADA not in task["errors"][0]["message"]


def test_an_address_that_cannot_be_written_down_harms_no_other(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA, "odd@example.org\u202c", BEN)
    broadcast = bench.work(start(bench))
    assert (broadcast.status, broadcast.counts.sent, broadcast.counts.bounced) == ("completed", 2, 1)
    assert recipients_of(mails) == [ADA, BEN]
    (error,) = bench.task(broadcast)["errors"]
    assert error["message"].endswith("The address was refused: its domain has characters that no domain may have.")


def test_a_lost_answer_is_uncertain_and_never_sent_again(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA)
    mails.plan(LOST_AFTER_ACCEPTING)
    broadcast = bench.work(start(bench))
    assert (broadcast.status, broadcast.counts.uncertain, recipients_of(mails)) == ("completed", 1, [ADA])


def test_a_server_that_puts_off_is_asked_again(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA, BEN)
    mails.plan(PUT_OFF)
    broadcast = start(bench)
    bench.to_sending(broadcast)
    assert bench.slice(broadcast) is Outcome.FINISHED
    assert bench.view(broadcast).reason is not None
    bench.wake()
    assert bench.work(broadcast).counts.sent == 2
    assert recipients_of(mails) == [ADA, BEN]


def test_a_sender_that_is_refused_ends_the_broadcast(bench: BroadcastsBench, mails: MailServer) -> None:
    bench.add_addresses(ADA)
    mails.plan(*[SENDER_REFUSED] * 5)
    broadcast = bench.work(start(bench))
    assert (broadcast.status, mails.accepted) == ("failed", [])
    assert broadcast.reason is not None
    assert broadcast.reason.startswith("Stopped: ")


@pytest.mark.parametrize("refusal", [NO_RELAY, QUOTA_USED_UP], ids=["no relay", "quota"])
def test_an_account_that_may_not_send_ends_the_broadcast_before_it_uses_up_the_addresses(
    bench: BroadcastsBench, mails: MailServer, refusal: Answer
) -> None:
    """Sleeps are cut short here, so that the first mail has all its tries before the second one has its turn."""
    bench.add_addresses(ADA, BEN, CLEO)
    mails.plan(*[refusal] * 5)
    broadcast = bench.work(start(bench))
    assert (broadcast.status, mails.accepted) == ("failed", [])
    assert (broadcast.counts.bounced, broadcast.counts.failed) == (0, 1)
    assert broadcast.counts.skipped_by_reason == {"called_off": 2}
    assert "does not let this account send" in str(broadcast.reason)


def test_a_mail_that_alone_is_not_allowed_fails_alone_and_the_others_come_first(
    bench: BroadcastsBench, mails: MailServer
) -> None:
    bench.add_addresses(ADA, BEN)
    mails.plan(NO_RELAY)
    broadcast = start(bench)
    bench.to_sending(broadcast)
    bench.slice(broadcast)
    bench.calls.execute("UPDATE background_jobs SET run_after = now()")
    bench.slice(broadcast)
    assert recipients_of(mails) == [BEN]
    mails.plan(*[NO_RELAY] * 3)
    finished = bench.work(broadcast)
    assert (finished.status, finished.counts.sent, finished.counts.failed) == ("completed", 1, 1)


@pytest.mark.parametrize("utf8", [False, True], ids=["ascii", "utf8"])
def test_the_header_of_the_link_stays_in_one_line_however_long_its_address(
    bench: BroadcastsBench, monkeypatch: pytest.MonkeyPatch, utf8: bool
) -> None:
    """Mail programs show no button for an encoded word."""
    base = "https://switchboard.a-rather-long-name.department.example.com"
    monkeypatch.setattr(bench.calls.runtime.settings, "public_url", base)
    with mail_server(utf8=True) as able:
        bench.connect(**able.account())
        bench.add_addresses("zoë@example.org" if utf8 else ADA)
        assert bench.work(start(bench)).counts.sent == 1
        [content] = [mail.content for mail in able.accepted]
    assert len(base) >= 60
    assert re.search(rb"(?m)^List-Unsubscribe: <" + re.escape(base.encode()) + rb"/u/[\w-]{32}>\r$", content)
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in content


def test_without_a_mail_account_nothing_is_created(servers: BroadcastsBench) -> None:
    servers.reset().add_addresses(ADA)
    with pytest.raises(BroadcastRefusedError, match="No mail account is connected"):
        start(servers)
