"""A broadcast that could not be sent is refused when it is created."""

from typing import Any

import pytest
from pydantic import ValidationError

from switchboard_core.broadcasts.schemas import BroadcastCreate


def order(**changes: Any) -> BroadcastCreate:
    values = {"name": "Spring", "channel": "sms", "body": "Hello {name}", "filter": {"all": True}, **changes}
    return BroadcastCreate.model_validate({name: value for name, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"body": "Hello {nmae}"}, "{nmae} is not known"),
        ({"body": " "}, "at least 1 character"),
        ({"body": "a" * 1601}, "1600 characters at most"),
        ({"body": "a\x00b"}, "match pattern"),
        ({"subject": "News"}, "an SMS has no subject"),
        ({"channel": "email"}, "an e-mail needs a subject"),
        ({"channel": "email", "subject": "a\nBcc: x@example.com"}, "match pattern"),
        ({"channel": "email", "subject": "{x}"}, "{x} is not known"),
        ({"channel": "email", "subject": "News", "from_number": "+14155550100"}, "only an SMS is sent from a number"),
        ({"filter": {}}, "the filter is empty"),
        ({"per_minute": 0}, "greater than 0"),
        ({"channel": "fax"}, "'email' or 'sms'"),
    ],
)
def test_what_cannot_be_sent_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        order(**changes)
    assert words in str(refused.value)


def test_a_long_mail_is_welcome() -> None:
    assert order(channel="email", subject="News for {name}", body="a" * 5000).subject == "News for {name}"
