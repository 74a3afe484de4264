"""Bodies that lie about themselves: too long, too often framed, or packed so that they grow."""

import gzip
import socket
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pytest

from integration.api_support import RunningApi, assert_problem
from security.world import Marked, furnished_api
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.tenancy.models import Role

LIMIT = 64 * 1024
BOMB = gzip.compress(b"phone\n" + b"0" * 50_000_000)
World = tuple[RunningApi, Sequence[Marked]]


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[World]:
    with furnished_api(postgres, migrated_template, valkey, 1, max_body_bytes=LIMIT) as made:
        yield made


def raw(world: World, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request byte by byte as written; the status of the first answer, and everything that came."""
    api, (acme,) = world
    place = urlsplit(api.url)
    head = "\r\n".join([*lines, "Host: x", f"Authorization: Bearer {acme.tenant.secrets[Role.OWNER]}", "", ""])
    received = b""
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        connection.settimeout(3)
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return int(received.split(b" ", 2)[1]), received


def answers(received: bytes) -> int:
    return received.count(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("length", "status"),
    [(str(LIMIT + 1), 413), ("9" * 18, 413), ("9" * 40, 400), ("-1", 400), ("1e9", 400), ("0x10", 400)],
)
def test_an_absurd_content_length_is_refused_unread(world: World, length: str, status: int) -> None:
    seen, received = raw(world, "POST /api/users HTTP/1.1", f"Content-Length: {length}", "Connection: close")
    assert seen == status
    assert answers(received) == 1


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: xchunked",),
    ],
    ids=["length and chunks", "two encodings", "two lengths", "unknown encoding"],
)
def test_a_request_that_can_be_read_in_two_ways_hides_no_second_one(world: World, headers: tuple[str, ...]) -> None:
    hidden = b"0\r\n\r\nGET /api/health HTTP/1.1\r\nHost: hidden\r\n\r\n"
    status, received = raw(world, "POST /api/users HTTP/1.1", *headers, body=hidden)
    # Refused, or its connection is closed after it: what follows is never taken for a request of its own.
    assert status >= 400
    assert answers(received) == 1


def test_chunks_beyond_the_limit_are_refused_while_they_come(world: World) -> None:
    _, (acme,) = world
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1024
            yield b" " * 1024

    answer = acme.tenant.owner.post("/api/users", content=endless(), headers={"Content-Type": "application/json"})
    assert_problem(answer, 413, "Body too large")
    assert sent < 10_000 * 1024


@pytest.mark.parametrize("path", ["/api/leads/import", "/api/users", "/voice/search"])
@pytest.mark.parametrize("media_type", ["text/csv", "application/json", "audio/wav"])
def test_a_packed_body_is_never_unpacked(world: World, path: str, media_type: str) -> None:
    _, (acme,) = world
    headers = {"Content-Type": media_type, "Content-Encoding": "gzip"}
    started = time.monotonic()
    answer = acme.tenant.owner.post(path, content=BOMB, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert time.monotonic() - started < 10


def test_a_nest_of_brackets_in_a_large_body_is_a_problem(world: World) -> None:
    _, (acme,) = world
    headers = {"Content-Type": "application/json"}
    answer = acme.tenant.owner.post("/api/users", content=b"[" * (LIMIT - 1), headers=headers)
    assert_problem(answer, 400)


def test_a_form_of_far_too_many_fields_is_refused(world: World) -> None:
    api, _ = world
    body = b"&".join(b"a=%d" % number for number in range(2000))
    answer = api.client().post(
        "/webhooks/twilio/status", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert_problem(answer, 400, "Malformed form")
