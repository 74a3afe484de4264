"""Tenants name hosts; none of these names leads into the network that Switchboard runs in."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from switchboard_core.egress import MOST_ADDRESSES, Egress, EgressRefusedError

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
    "2001:0:0:0:0:0:80ff:fffe",
]
"""Addresses as they are, and IPv4 ones wrapped in IPv6: mapped, compatible, NAT64, 6to4, Teredo."""

PUBLIC = ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]

Lookup = Callable[[str], list[str]]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Lookup]], list[str]]:
    """Give names addresses; returns the list of names that were looked up."""
    real = socket.getaddrinfo

    def install(names: dict[str, Lookup]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> Any:
            if host not in names:
                return real(host, port, *args, **options)
            asked.append(host)
            return [entry for address in names[host](host) for entry in real(address, port, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return install


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_of_the_inside_is_refused(address: str) -> None:
    with pytest.raises(EgressRefusedError, match="have the administrator add it to TRUSTED_HOSTS"):
        Egress().addresses(address, 25)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken(address: str) -> None:
    assert len(Egress().addresses(address, 25)) == 1


@pytest.mark.parametrize("written", ["2130706433", "0x7f.1", "127.1", "017700000001", "localhost", "LOCALHOST"])
def test_loopback_in_another_spelling_is_refused(written: str) -> None:
    with pytest.raises(EgressRefusedError):
        Egress().addresses(written, 25)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::ffff:192.168.0.1"])
def test_a_name_that_leads_inside_is_refused_even_where_its_other_addresses_are_public(
    resolve: Callable[..., list[str]], address: str
) -> None:
    resolve({"mail.example.com": lambda _: ["8.8.8.8", address]})
    with pytest.raises(EgressRefusedError, match=r"^mail\.example\.com is an address inside"):
        Egress().addresses("mail.example.com", 25)
    with pytest.raises(EgressRefusedError):
        Egress().connect("mail.example.com", 25, 1)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".com", "ä" * 200])
def test_a_name_that_cannot_be_is_an_error_of_the_connection(name: str) -> None:
    with pytest.raises(OSError, match="cannot be right"):
        Egress().connect(name, 25, 1)


@pytest.mark.parametrize(
    ("trusted", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.9.9.9"),
        ("10.0.0.0/8", "::ffff:10.1.1.1"),
        ("::1", "::1"),
        ("localhost", "LocalHost"),
    ],
)
def test_what_the_installation_trusts_may_be_named(trusted: str, host: str) -> None:
    egress = Egress([trusted])
    assert egress.addresses(host, 25)
    assert egress.trusts(host, 25)


def test_trust_goes_no_further_than_was_said(resolve: Callable[..., list[str]]) -> None:
    resolve({"mail.localhost": lambda _: ["127.0.0.1"]})
    for host in ("127.0.0.2", "10.0.0.1", "mail.localhost"):
        with pytest.raises(EgressRefusedError):
            Egress(["127.0.0.1/32", "localhost"] if host != "mail.localhost" else ["localhost"]).addresses(host, 25)
    assert not Egress(["127.0.0.1"]).trusts("8.8.8.8", 25)


def test_the_connection_goes_to_the_address_that_was_checked(resolve: Callable[..., list[str]]) -> None:
    """A name that means something else a moment later gains nothing."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked = resolve({"rebind.example.com": lambda _: next(answers)})
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Egress(["127.0.0.1"]).connect("rebind.example.com", listener.getsockname()[1], 5) as connection,
    ):
        assert connection.getpeername()[0] == "127.0.0.1"
        assert connection.gettimeout() == 5
    assert asked == ["rebind.example.com"]


def test_the_next_address_is_tried_where_one_does_not_answer(resolve: Callable[..., list[str]]) -> None:
    resolve({"two.example.com": lambda _: ["127.0.0.2", "127.0.0.1"]})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Egress(["127.0.0.0/8"]).connect("two.example.com", listener.getsockname()[1], 5).close()


def test_a_name_with_many_dead_addresses_is_given_up_soon(resolve: Callable[..., list[str]]) -> None:
    dead = [f"127.0.0.{number}" for number in range(2, 2 + MOST_ADDRESSES)]
    resolve({"many.example.com": lambda _: [*dead, "127.0.0.1"]})
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(ConnectionRefusedError):
        Egress(["127.0.0.0/8"]).connect("many.example.com", listener.getsockname()[1], 5)


# httpx


@pytest.fixture
def server() -> Iterator[str]:
    """Redirects to what its path says, and says hello otherwise. It listens on every address of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = self.path.removeprefix("/to/")
            self.send_response(302 if target != self.path else 200)
            if target != self.path:
                self.send_header("Location", f"http://{target}:{self.headers['Host'].rpartition(':')[2]}/hello")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("0.0.0.0", 0), Handler) as httpd:
        thread = Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join(5)


def test_a_client_with_the_transport_reaches_what_is_trusted(server: str) -> None:
    with httpx.Client(transport=Egress(["127.0.0.1"]).transport()) as client:
        assert client.get(f"{server}/hello").status_code == 200


@pytest.mark.parametrize(
    "target",
    ["127.0.0.2", "0.0.0.0", "169.254.169.254", "[::1]", "[::ffff:127.0.0.2]", "10.0.0.1"],
)
def test_a_redirect_into_the_inside_is_refused(server: str, target: str) -> None:
    with (
        httpx.Client(transport=Egress(["127.0.0.1"]).transport(), follow_redirects=True, timeout=2) as client,
        pytest.raises(EgressRefusedError),
    ):
        client.get(f"{server}/to/{target}")


def test_without_trust_the_first_request_is_refused_already(server: str) -> None:
    with httpx.Client(transport=Egress().transport()) as client, pytest.raises(EgressRefusedError):
        client.get(f"{server}/hello")


def test_an_async_client_is_held_to_the_same(server: str) -> None:
    async def scenario() -> None:
        transport = Egress(["127.0.0.1"]).async_transport()
        async with httpx.AsyncClient(transport=transport, follow_redirects=True, timeout=2) as client:
            assert (await client.get(f"{server}/hello")).status_code == 200
            with pytest.raises(EgressRefusedError):
                await client.get(f"{server}/to/127.0.0.2")

    asyncio.run(scenario())


def test_a_proxy_of_the_environment_is_no_way_around(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server)
    monkeypatch.setenv("ALL_PROXY", server)
    with httpx.Client(transport=Egress().transport()) as client, pytest.raises(EgressRefusedError):
        client.get("http://10.0.0.1/")


def test_a_name_that_does_not_exist_is_an_error_of_the_connection(resolve: Callable[..., list[str]]) -> None:
    def unknown(_: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve({"nowhere.example.com": unknown})
    with httpx.Client(transport=Egress().transport()) as client, pytest.raises(httpx.ConnectError):
        client.get("http://nowhere.example.com/")
