"""Where a request comes from: the connection's other end, or what a proxy that we trust says about it."""

import ipaddress
from collections.abc import Sequence

from starlette.requests import HTTPConnection

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN = "unknown"
_IPV6_SITE_BITS = 64


class ClientAddresses:
    """Tells whom to hold a request against.

    ``X-Forwarded-For`` can be written by anybody. It is read from its end, where the nearest proxy wrote, and only as
    far as each hop is a proxy of the installation; what stands before that is somebody's word.

    Args:
        trusted_proxies: addresses or networks (CIDR) of the proxies in front of the api; without any the header
            counts for nothing.
    """

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        self._trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(entry, strict=False) for entry in trusted_proxies
        )

    def of(self, connection: HTTPConnection) -> str:
        """The address that a limit counts for: of IPv6 the /64, which is one customer's."""
        nearest = _parsed(connection.client.host) if connection.client else None
        if nearest is None:
            return UNKNOWN
        hops = [hop for value in connection.headers.getlist("x-forwarded-for") for hop in value.split(",")]
        while hops and any(nearest in network for network in self._trusted):
            before = _parsed(hops.pop())
            if before is None:
                break
            nearest = before
        return _site(nearest)


def _parsed(written: str) -> Address | None:
    """An address as proxies write it, with or without a port; None for anything else."""
    bare = written.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _site(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))
