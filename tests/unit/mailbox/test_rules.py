"""Which rule takes a message, and which rules are none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from switchboard_core.mailbox.imap import MessageHeader, Part
from switchboard_core.mailbox.rules import first_match, matches
from switchboard_core.mailbox.schemas import MailboxOrder, Rule, RuleMatch, Rules

NOW = datetime(2026, 9, 7, 12, tzinfo=UTC)


def header(**changes: Any) -> MessageHeader:
    known = {
        "sender": "Bob Müller <bob@example.net>",
        "recipients": "Anna <anna@example.com>, team@example.com",
        "subject": "Your INVOICE of July",
        "list_id": "News <news.example.org>",
        "received": NOW - timedelta(days=10),
    }
    return MessageHeader(1, **{**known, **changes})


@pytest.mark.parametrize(
    ("match", "found"),
    [
        ({"sender": "MÜLLER"}, True),
        ({"sender": "bob@example.net"}, True),
        ({"sender": "carol"}, False),
        ({"recipient": "team@"}, True),
        ({"subject": "invoice"}, True),
        ({"subject": "invoice", "sender": "carol"}, False),
        ({"list_id": "news.example.org"}, True),
        ({"older_than_days": 9}, True),
        ({"older_than_days": 10}, False),
        ({"has_attachment": False}, True),
        ({"has_attachment": True}, False),
    ],
)
def test_all_that_is_asked_for_must_be_there(match: dict[str, Any], found: bool) -> None:
    assert matches(RuleMatch(**match), header(), NOW) is found


def test_an_attachment_is_found_among_the_parts() -> None:
    part = Part("2", "application/pdf", attachment=True)
    assert matches(RuleMatch(has_attachment=True), header(parts=(part,)), NOW)


def test_a_message_of_unknown_age_is_not_old() -> None:
    unknown = header(received=None, date=None)
    assert not matches(RuleMatch(older_than_days=1), unknown, NOW)
    assert matches(RuleMatch(older_than_days=1), header(received=None, date=NOW - timedelta(days=2)), NOW)


def test_a_message_without_a_list_is_on_no_list() -> None:
    assert not matches(RuleMatch(list_id="news"), header(list_id=None), NOW)


def test_the_first_rule_that_matches_decides() -> None:
    rules = [
        Rule.model_validate({"name": name, "match": {"subject": wanted}, "action": {"move_to": name}})
        for name, wanted in (("none", "nothing"), ("first", "invoice"), ("second", "july"))
    ]
    found = first_match(rules, header(), NOW)
    assert found is not None
    assert found.name == "first"
    assert first_match(rules, header(subject="Hello"), NOW) is None


@pytest.mark.parametrize("folder", ["", " ", "/a", "a/", "a//b", "a*", "a%", "a\x00b", "x" * 256])
def test_what_is_no_folder_is_refused(folder: str) -> None:
    rule = {"name": "R", "match": {"subject": "a"}, "action": {"move_to": folder}}
    with pytest.raises(ValidationError):
        Rules.model_validate({"rules": [rule]})


@pytest.mark.parametrize("host", ["", "a b", "user@host", "host:143", "http://host"])
def test_what_is_no_host_is_refused(host: str) -> None:
    login = {"kind": "password", "password": "p"}
    with pytest.raises(ValidationError):
        MailboxOrder.model_validate({"host": host, "username": "u", "login": login})


def test_ports_follow_the_encryption() -> None:
    login = {"kind": "password", "password": "p"}
    ports = [
        MailboxOrder.model_validate({"host": "h", "username": "u", "login": login, "security": security}).resolved_port
        for security in ("tls", "starttls", "none")
    ]
    assert ports == [993, 143, 143]


def test_an_order_does_not_show_its_secrets() -> None:
    login = {"kind": "oauth2", "token_url": "https://p.example/t", "client_id": "c", "refresh_token": "hidden-1"}
    order = MailboxOrder.model_validate({"host": "h", "username": "u", "login": login | {"client_secret": "hidden-2"}})
    assert "hidden" not in repr(order) + order.model_dump_json()
