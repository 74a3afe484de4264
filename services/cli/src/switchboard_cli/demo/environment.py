"""The environment of the demo's processes. Pure: nothing is read from this machine but what is passed in."""

import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# What a process needs of the person's environment; all else (settings of another installation, proxies) stays out.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")

# Seconds: a call is over in about one and a half.
RING_SECONDS = 0.3
TALK_SECONDS = 1.0
OUTCOMES = {"answer": 15, "machine": 7, "busy": 25, "no_answer": 45, "fail": 8}
"""Weights, much like those of real campaigns: most calls are not answered."""

HANG_UPS = (
    {"suffix": "0", "outcome": "answer", "talk_seconds": 0.2, "recording": "silent"},
    {"suffix": "1", "outcome": "answer", "talk_seconds": 0.2, "recording": "too_short"},
)
"""Two of ten numbers belong to people who answer and hang up at once, so the carrier has no recording to give.

That is life, and it keeps the demo short: transcribing is most of its work.
"""


@dataclass(frozen=True)
class CarrierAccount:
    """An account at the simulated carrier, made for one run of the demo."""

    sid: str = field(default_factory=lambda: "AC" + secrets.token_hex(16))
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)


@dataclass(frozen=True)
class Addresses:
    """Where everything is, and what opens what businesses entrust there.

    Attributes:
        database: URL for the application's role.
        owner_database: URL for the owner's role, which only migrations use.
        redis: URL.
        api: URL.
        simulator: URL.
        recordings: folder that recordings are kept in.
        sealing_key: made for one run of the demo: the database goes with it.
    """

    database: str = field(repr=False)
    owner_database: str = field(repr=False)
    redis: str
    api: str
    simulator: str
    recordings: Path
    sealing_key: str = field(default_factory=lambda: urlsafe_b64encode(secrets.token_bytes(32)).decode(), repr=False)


def kept(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process gets of the person's environment."""
    return {name: environ[name] for name in _KEPT if name in environ} | {
        "PYTHONUNBUFFERED": "1",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "INFO",
    }


def for_simulator(account: CarrierAccount, port: int) -> dict[str, str]:
    """Variables of the simulator: a carrier that dials quickly and whose callees talk for a second."""
    return {
        "SIMULATOR_PORT": str(port),
        "SIMULATOR_ACCOUNT_SID": account.sid,
        "SIMULATOR_AUTH_TOKEN": account.token,
        "SIMULATOR_CPS": "100",
        "SIMULATOR_RING_SECONDS": str(RING_SECONDS),
        "SIMULATOR_TALK_SECONDS": str(TALK_SECONDS),
        "SIMULATOR_MIX": json.dumps(OUTCOMES),
    }


def for_migration(at: Addresses) -> dict[str, str]:
    """Variables of ``switchboard migrate``."""
    return {"SERVICE_ROLE": "migrate", "MIGRATION_DATABASE_URL": at.owner_database}


def for_service(role: str, port: int, account: CarrierAccount, at: Addresses) -> dict[str, str]:
    """Variables of api, worker or recorder.

    Args:
        role: its ``SERVICE_ROLE``.
        port: that the api listens on, or that another role shows health and metrics on.
        account: at the carrier.
        at: where everything is.
    """
    # The recorder opens nothing that was entrusted. Mail and accounting of the demo are on this machine.
    entrusted = {} if role == "recorder" else {"CREDENTIALS_KEYS": at.sealing_key, "TRUSTED_HOSTS": "127.0.0.1"}
    return entrusted | {
        "SERVICE_ROLE": role,
        "DATABASE_URL": at.database,
        "REDIS_URL": at.redis,
        "PUBLIC_URL": at.api,
        "TWILIO_ACCOUNT_SID": account.sid,
        "TWILIO_AUTH_TOKEN": account.token,
        "TWILIO_BASE_URL": at.simulator,
        "CARRIER_CALLS_PER_SECOND": "50",
        "RECORDINGS_URL": f"file://{at.recordings}",
        ("SWITCHBOARD_PORT" if role == "api" else "METRICS_PORT"): str(port),
    }
