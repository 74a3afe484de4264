"""What a mail server's refusal is about: the recipient, this mail, or the account that sends."""

import pytest

from switchboard_core.outbox import refusals
from switchboard_core.outbox.errors import AddressRefusedError, ContentRefusedError, NotAllowedError, NotSentError


@pytest.mark.parametrize(
    ("code", "answer", "error"),
    [
        (550, b"5.1.1 <ada@example.com>: no such user here", AddressRefusedError),
        (550, b"no such user here", AddressRefusedError),
        (552, b"5.2.2 mailbox full", AddressRefusedError),
        (550, b"5.4.1 Recipient address rejected: Access denied", AddressRefusedError),
        (553, b"5.1.8 Sender address rejected: Domain not found", NotAllowedError),
        (554, b"5.7.1 Relay access denied", NotAllowedError),
        (550, b"5.7.26 This mail is unauthenticated", NotAllowedError),
        (550, b"5.4.5 Daily user sending limit exceeded", NotAllowedError),
        (503, b"5.5.1 Error: need MAIL command", NotAllowedError),
        (530, b"5.7.0 Authentication required", NotSentError),
        (450, b"4.2.1 Mailbox busy, try again later", NotSentError),
    ],
)
def test_a_refused_recipient_is_at_fault_only_where_the_code_says_so(
    code: int, answer: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        refusals.require_recipient(code, answer)
    assert type(refused.value) is error


@pytest.mark.parametrize(
    ("code", "answer", "error"),
    [
        (552, b"5.3.4 Message too big", ContentRefusedError),
        (554, b"5.6.0 Message is malformed", ContentRefusedError),
        (554, b"Transaction failed", ContentRefusedError),
        (554, b"5.7.1 Message refused as spam", NotAllowedError),
        (550, b"5.4.5 Daily user sending limit exceeded\n5.4.5 see the help page", NotAllowedError),
    ],
)
def test_a_refused_mail_is_at_fault_unless_the_code_names_policy_or_quota(
    code: int, answer: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        refusals.refuse_mail(code, answer)
    assert type(refused.value) is error


def test_what_is_accepted_is_no_refusal() -> None:
    refusals.require_sender(250, b"2.1.0 OK")
    refusals.require_recipient(251, b"2.1.5 will forward")
