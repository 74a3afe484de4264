"""Addresses, Message-IDs and waits."""

import uuid

import pytest

from switchboard_core.outbox.accounts import domain_of
from switchboard_core.outbox.schemas import require_address
from switchboard_core.outbox.send import LONGEST_RETRY_S, backoff_s
from switchboard_core.outbox.service import id_of_header


@pytest.mark.parametrize("address", ["ada@example.com", "a.b+c@mail.example.co.uk", "zoë@bücher.example"])
def test_an_address_is_taken(address: str) -> None:
    assert require_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example",
        "a b@example.com",
        "a@b@example.com",
        "a\x00@b.org",
        "<a@example.com>",
        "a@example.com,b@example.com",
        "a@-example.com",
        "a@example..com",
    ],
)
def test_what_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not an e-mail address"):
        require_address(address)


def test_a_domain_is_written_in_ascii() -> None:
    assert domain_of("ada@bücher.example") == "xn--bcher-kva.example"


def test_a_message_is_found_by_its_message_id() -> None:
    known = uuid.UUID("1f7a61a9-1a9f-4f38-b379-65d546d0fdb4")
    assert id_of_header(f" <{str(known).upper()}@example.com> ") == known


@pytest.mark.parametrize(
    "header", ["", "<1@example.com>", "no brackets@example.com", "<1f7a61a9-1a9f-4f38-b379-65d546d0fdb4>"]
)
def test_another_message_id_is_none_of_ours(header: str) -> None:
    assert id_of_header(header) is None


def test_waits_double_up_to_an_hour_and_are_spread() -> None:
    for tries in range(40):
        middle = min(LONGEST_RETRY_S, 30 * 2.0**tries)
        assert 0.5 * middle <= backoff_s(tries, 30) <= 1.5 * middle
    assert len({backoff_s(1, 30) for _ in range(5)}) > 1
