"""Connections to hosts that a business named: never into the network that Switchboard runs in.

Mail servers, accounting systems and token servers of OAuth2 are addresses that tenants choose. Whoever names one of the
inside (loopback, a private network, the metadata service of a cloud) would have our workers knock there for them. So
every name is resolved here, each address is checked, and the connection goes to exactly the address that was checked:
a name that means something else a moment later gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

_RESOLVE_PROTOCOL = socket.IPPROTO_TCP
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")

MOST_ADDRESSES = 3
"""Addresses of a host that are tried at most: a name with hundreds of dead ones must not hold a worker up."""


class EgressRefusedError(Exception):
    """The host is not one that tenants may name; the message says what to do."""


class Egress:
    """Opens connections to public hosts, and to those that the installation trusts.

    Args:
        trusted: hosts, addresses or networks (CIDR) that tenants may name although they are not public.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._names: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in trusted:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._names.add(entry.lower().rstrip("."))

    def addresses(self, host: str, port: int) -> list[str]:
        """Where a host is, public or trusted.

        Raises:
            EgressRefusedError: it has an address of the inside.
            OSError: it cannot be resolved.
        """
        addresses = self._resolved(host, port)
        if host.lower().rstrip(".") not in self._names:
            for address in addresses:
                self._check(host, _meant(address))
        return addresses

    def trusts(self, host: str, port: int) -> bool:
        """Whether the installation trusts a host: by its name, or by each address that it has.

        Raises:
            OSError: it cannot be resolved.
        """
        if host.lower().rstrip(".") in self._names:
            return True
        return all(self._is_trusted(_meant(address)) for address in self._resolved(host, port))

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A TCP connection to the first address of a host that answers.

        Args:
            host: name or address.
            port: TCP port.
            timeout_s: for each address, in seconds; stays the socket's timeout.

        Raises:
            EgressRefusedError: it has an address of the inside.
            OSError: it cannot be resolved, or nothing answers there.
        """
        failure: OSError | None = None
        for address in self.addresses(host, port)[:MOST_ADDRESSES]:
            try:
                return socket.create_connection((address, port), timeout=timeout_s)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{host} has no address")

    def transport(self) -> httpx.HTTPTransport:
        """A transport for ``httpx.Client`` whose connections are checked, those after a redirect included."""
        made = httpx.HTTPTransport(trust_env=False)
        # httpx has no argument for it; the pool is made anew with our way to connect and the same TLS context.
        made._pool = httpcore.ConnectionPool(  # noqa: SLF001
            ssl_context=httpx.create_ssl_context(trust_env=False), network_backend=_CheckedBackend(self)
        )
        return made

    def async_transport(self) -> httpx.AsyncHTTPTransport:
        """The same for ``httpx.AsyncClient`` on asyncio."""
        context = httpx.create_ssl_context(trust_env=False)
        made = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
        made._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001
            ssl_context=context, network_backend=_CheckedAsyncBackend(self)
        )
        return made

    @staticmethod
    def _resolved(host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=_RESOLVE_PROTOCOL)
        except (ValueError, OverflowError):
            # Too long, or with an empty label: what Python finds wrong before the resolver is asked.
            msg = "the host's name or port cannot be right"
            raise OSError(msg) from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _check(self, host: str, address: Address) -> None:
        if _is_public(address) or self._is_trusted(address):
            return
        msg = (
            f"{host} is an address inside the network that Switchboard runs in, which a business may not name: "
            "use its public name, or have the administrator add it to TRUSTED_HOSTS."
        )
        raise EgressRefusedError(msg)


def _meant(written: str) -> Address:
    """Where packets to an address end up: an IPv4 address may be wrapped in an IPv6 one."""
    address = ipaddress.ip_address(written.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


def _is_public(address: Address) -> bool:
    unusual = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not unusual


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects as httpcore does, but only to addresses that were checked."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a checked address of a host."""
        try:
            addresses = self._egress.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception | None = None
        for address in addresses[:MOST_ADDRESSES]:
            try:
                return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _CheckedAsyncBackend(httpcore.AsyncNetworkBackend):
    """The same on asyncio; names are resolved in a thread."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a checked address of a host."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await asyncio.to_thread(self._egress.addresses, host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception | None = None
        for address in addresses[:MOST_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)
