"""TCP ports on loopback for servers whose address must survive a restart."""

import errno
import random
import socket
from collections.abc import Sequence

from switchboard_cli.devstack.errors import DevstackError, PortInUseError

LOOPBACK = "127.0.0.1"

# Below the range from which Linux (32768) and macOS (49152) take the local ports of outgoing connections: while a
# server is down between stop and restart, none of its clients can be given the server's own port by accident.
_FIRST_PORT, _LAST_PORT = 20_000, 29_999
_ATTEMPTS = 200

_handed_out: set[int] = set()


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of an earlier run in TIME_WAIT do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def require_free_port(port: int, name: str) -> None:
    """Check a port that a person chose.

    Args:
        port: the TCP port on loopback.
        name: who wants it, for the message.

    Raises:
        PortInUseError: somebody listens there.
    """
    if not port_is_free(port):
        raise PortInUseError(port, name)


def free_port() -> int:
    """Return a loopback port that nobody listens on and that this process has not handed out before.

    Raises:
        DevstackError: no free port was found.
    """
    # Not for security: several runs on one machine only have to be unlikely to try the same port at the same moment.
    candidates: Sequence[int] = random.sample(range(_FIRST_PORT, _LAST_PORT + 1), _ATTEMPTS)
    for port in candidates:
        if port not in _handed_out and port_is_free(port):
            _handed_out.add(port)
            return port
    raise DevstackError(
        f"No free port was found between {_FIRST_PORT} and {_LAST_PORT}: stop programs that listen there."
    )
