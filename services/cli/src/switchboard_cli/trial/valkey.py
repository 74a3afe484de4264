"""Valkey as the main process. It keeps nothing over a restart, as transport needs no more."""

import os
import signal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from switchboard_cli.devstack import LOOPBACK, require_free_port
from switchboard_cli.devstack.process import tied_to_starter
from switchboard_cli.devstack.valkey import valkey_configuration, valkey_program
from switchboard_cli.trial.foreground import run_in_foreground

# A minus before an address: go on without it, where the machine has no IPv6.
_EVERYWHERE = "* -::*"
_PROBE_SECONDS = 2


def run_valkey(port: int, password: str) -> int:
    """Run Valkey until SIGTERM, on all addresses.

    Args:
        port: TCP port.
        password: asked from clients.

    Returns:
        the exit status of the server.

    Raises:
        DevstackError: the port is in use or the program is not installed.
    """
    require_free_port(port, "Valkey")
    # Settings come by standard input: a password in the arguments could be read by everybody in ``ps``.
    command = tied_to_starter([str(valkey_program()), "-"], death_signal=signal.SIGKILL)
    settings = valkey_configuration(_EVERYWHERE, port, password)
    return run_in_foreground(command, os.environ, stop_signal=signal.SIGTERM, stdin=settings)


def why_not_ready(port: int, password: str) -> str | None:
    """Say why the services could not use Valkey on this machine now; None when they could."""
    once = Retry(NoBackoff(), 0)
    with redis.Redis(host=LOOPBACK, port=port, password=password, socket_timeout=_PROBE_SECONDS, retry=once) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            return str(error)
    return None
