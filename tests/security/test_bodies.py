"""Bodies that lie about themselves: too long, too often framed, or packed so that they grow."""

import gc
import gzip
import socket
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import httpx
import pytest

from integration.api_support import RunningApi, assert_problem
from security.world import Marked, furnished_api
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey
from switchboard_core.tenancy.models import Role

LIMIT = 64 * 1024
UNPACKED = 50_000_000
BOMB = gzip.compress(b"phone\n".ljust(UNPACKED, b"0"))
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


def measured(send: Callable[[], httpx.Response]) -> tuple[httpx.Response, int]:
    """An answer of the api, which lives in this process, and how many bytes more than before were held meanwhile."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answer = send()
        return answer, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


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


UNREAD = (415, "Unsupported media type")
PACKED = {
    ("/api/leads/import", "text/csv"): (422, "Malformed CSV"),
    ("/api/leads/import", "application/json"): UNREAD,
    ("/api/leads/import", "audio/wav"): UNREAD,
    ("/api/users", "text/csv"): UNREAD,
    ("/api/users", "application/json"): (400, "Bad Request"),
    ("/api/users", "audio/wav"): UNREAD,
    ("/voice/search", "text/csv"): UNREAD,
    ("/voice/search", "application/json"): (400, "Malformed JSON"),
    ("/voice/search", "audio/wav"): (422, "Unusable recording"),
}
"""What a route says of a packed body: not its type, or not what its type says, so that it saw it packed."""


@pytest.mark.parametrize(("path", "media_type"), PACKED)
def test_a_packed_body_is_never_unpacked(world: World, path: str, media_type: str) -> None:
    _, (acme,) = world
    headers = {"Content-Type": media_type, "Content-Encoding": "gzip"}
    answer, peak = measured(lambda: acme.tenant.owner.post(path, content=BOMB, headers=headers))
    assert_problem(answer, *PACKED[path, media_type])
    assert peak < UNPACKED // 10


def test_what_an_unpacked_body_holds_would_be_noticed() -> None:
    unpacked, peak = measured(lambda: httpx.Response(200, content=gzip.decompress(BOMB)))
    assert len(unpacked.content) == UNPACKED
    assert peak >= UNPACKED


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
