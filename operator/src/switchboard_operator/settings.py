"""The operator's own settings, from its environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


class SettingsError(Exception):
    """The environment is wrong; the message says what and how to correct it."""


@dataclass(frozen=True)
class Settings:
    """Settings.

    Attributes:
        namespaces: that are watched; empty for all.
        identity: of this process.
        lease_namespace: where the Lease is.
        lease_name: of the Lease.
        workers: Switchboards that are reconciled at the same time.
        health_port: of liveness, readiness and metrics.
        log_level: ``DEBUG`` to ``ERROR``.
        log_format: ``json`` or ``text``.
    """

    namespaces: tuple[str, ...] = ()
    identity: str = ""
    lease_namespace: str = "default"
    lease_name: str = "switchboard-operator"
    workers: int = 8
    health_port: int = 8080
    log_level: str = "INFO"
    log_format: str = "json"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read them.

        Raises:
            SettingsError: a variable is wrong.
        """
        return cls(
            namespaces=tuple(filter(None, (part.strip() for part in environ.get("WATCH_NAMESPACES", "").split(",")))),
            identity=environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
            lease_namespace=environ.get("POD_NAMESPACE", "default"),
            lease_name=environ.get("LEASE_NAME", "switchboard-operator"),
            workers=_number(environ, "RECONCILE_WORKERS", 8, lowest=1),
            health_port=_number(environ, "HEALTH_PORT", 8080, lowest=0),
            log_level=_choice(environ, "LOG_LEVEL", ("INFO", "DEBUG", "WARNING", "ERROR")),
            log_format=_choice(environ, "LOG_FORMAT", ("json", "text")),
        )


def _number(environ: Mapping[str, str], name: str, default: int, *, lowest: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdigit() or int(text) < lowest:
        msg = f"{name} is {text!r}: set it to a number of at least {lowest}."
        raise SettingsError(msg)
    return int(text)


def _choice(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = environ.get(name, choices[0])
    if text not in choices:
        msg = f"{name} is {text!r}: set it to one of {', '.join(choices)}."
        raise SettingsError(msg)
    return text
