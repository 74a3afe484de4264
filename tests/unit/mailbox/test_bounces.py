"""Mails that came back, as mail servers report it."""

import pytest

from switchboard_core.mailbox.bounces import Bounce, bounce_of, report_parts
from switchboard_core.mailbox.mime import Part

STATUS = (
    b"Reporting-MTA: dns; mx.example.org\r\n\r\n"
    b"Final-Recipient: rfc822; gone@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    b"Diagnostic-Code: smtp; 550 5.1.1 <gone@example.org>:\r\n no such user\r\n"
)
ORIGINAL = b"Subject: Receipt\r\nMessage-ID: <abc@example.com>\r\n"


def test_a_report_says_which_mail_came_back_and_why_without_the_address() -> None:
    reason = "It came back (5.1.1): 550 5.1.1 … no such user."
    assert bounce_of(STATUS, ORIGINAL) == Bounce("<abc@example.com>", reason)


def test_a_report_without_a_reason_says_so() -> None:
    assert bounce_of(b"Action: failed\r\n", ORIGINAL) == Bounce("<abc@example.com>", "It came back: no reason given.")


@pytest.mark.parametrize(
    ("status", "original"),
    [
        (STATUS.replace(b"failed", b"delayed"), ORIGINAL),
        (STATUS.replace(b"failed", b"delivered"), ORIGINAL),
        (STATUS, b"Subject: no id\r\n"),
        (b"", ORIGINAL),
        (b"\xff\xfe\x00", b"\xff"),
    ],
)
def test_a_mail_that_may_still_arrive_or_is_not_named_has_not_come_back(status: bytes, original: bytes) -> None:
    assert bounce_of(status, original) is None


def test_a_report_has_a_status_and_the_mail() -> None:
    text, status = Part("1", "text/plain"), Part("2", "message/delivery-status")
    mail = Part("3", "message/rfc822")
    assert report_parts((text, status, mail)) == (status, mail)
    assert report_parts((text, status)) is None
    assert report_parts((text, mail)) is None
