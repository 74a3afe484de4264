"""Connections to hosts that a business named: never into the network that Switchboard runs in.

Mail servers, accounting systems and webhooks are addresses that tenants choose. Whoever names an address of the
inside (loopback, a private network, the metadata service of a cloud) would have our workers knock there for them. So
every name is resolved here, each address is checked, and the connection goes to exactly the address that was checked:
a name that means something else a moment later gains nothing.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

_RESOLVE_PROTOCOL = socket.IPPROTO_TCP


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
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=_RESOLVE_PROTOCOL)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if host.lower().rstrip(".") not in self._names:
            for address in addresses:
                self._check(host, ipaddress.ip_address(address.partition("%")[0]))
        return addresses

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
        for address in self.addresses(host, port):
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

    def _check(self, host: str, address: Address) -> None:
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_global and not mapped.is_multicast:
            return
        if any(mapped in network for network in self._networks):
            return
        msg = (
            f"{host} is an address inside the network that Switchboard runs in, which a business may not name: "
            "use its public name, or have the administrator add it to TRUSTED_HOSTS."
        )
        raise EgressRefusedError(msg)


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
        for address in addresses:
            try:
                return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")
