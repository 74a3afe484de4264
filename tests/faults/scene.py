"""The scene of a fault run: the real services behind proxies, several businesses, and a campaign or two for each."""

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from faults import service
from faults.plan import CARRIER, POSTGRES, VALKEY, Cast, carrier_clock, clocks
from faults.proxy import Proxy
from stack import Stack, running_stack
from switchboard_cli.devstack import LOOPBACK, DatabaseUrls, EmbeddedPostgres, EmbeddedValkey

TESTS = Path(__file__).parents[1]

Json = dict[str, Any]


@dataclass(frozen=True)
class Profile:
    """A business of the run.

    Attributes:
        name: for people.
        cap: of its calls at once.
        share: of the leads, relative to the others.
        runs: campaigns that it has going at once.
    """

    name: str
    cap: int
    share: float
    runs: int = 1


# One or two lines get few leads: a call that nobody knows the end of holds one for most of a minute.
PROFILES = (
    Profile("One at a time", 1, 0.5),
    Profile("Two lines", 2, 1.5),
    Profile("As it comes", 3, 4),
    Profile("Two campaigns", 5, 5, runs=2),
    Profile("Call centre", 9, 9, runs=3),
    Profile("Backlog", 12, 14),
)

# Everything stands at the product's defaults, so that the bounds are those of the product. Only what happens when a
# call can be found nowhere comes earlier; it stays longer than the longest stop of a process.
SETTINGS = {"UNKNOWN_OUTCOME_AFTER_SECONDS": "40", "CARRIER_READ_TIMEOUT_SECONDS": "4"}
LEASE_S = 10.0

FAULTS_OF_THE_CARRIER = {
    "callback_lose": 0.05,
    "callback_duplicate": 0.1,
    "callback_delay": 0.1,
    "callback_delay_seconds": 3.0,
    "callback_reorder": 0.1,
    "callback_hold_seconds": 0.3,
    "create_lose_answer": 0.03,
    "create_hang": 0.002,
    "create_429": 0.04,
    "create_5xx_before": 0.01,
    "create_5xx_after": 0.02,
    "create_slow": 0.03,
    "create_slow_seconds": 1.0,
    "query_5xx": 0.05,
    "media_cut": 0.1,
}


@dataclass(frozen=True)
class Size:
    """How big a run is.

    Attributes:
        leads: call jobs in all; most are called once, some again.
        profiles: the businesses.
        workers: worker processes.
        settings: of the services, beyond the run's own.
        carrier: what goes wrong at the carrier.
        brief: a slice of a run, with short windows.
    """

    leads: int
    profiles: tuple[Profile, ...] = PROFILES
    workers: int = 3
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    carrier: Mapping[str, float] = field(default_factory=lambda: FAULTS_OF_THE_CARRIER)
    lease_s: float = LEASE_S
    brief: bool = False


@dataclass(frozen=True)
class Campaign:
    """A run of calls.

    Attributes:
        id: of the run.
        task: its background job.
        key: of its business, to ask the api with.
    """

    id: int
    task: int
    key: str


@dataclass
class Scene:
    """Running services, and the hands on everything that can be harmed.

    Attributes:
        stack: the services, which reach their servers through the proxies.
        proxies: by the names of the servers.
        postgres: the server itself, where it may be restarted.
        valkey: likewise.
        valkey_url: of the server itself, past the proxy.
        full_store: while this file exists, the recorder's store has no room.
        carrier_off_s: seconds by which the carrier's clock is off; its times are that much later than PostgreSQL's.
    """

    stack: Stack
    proxies: dict[str, Proxy]
    postgres: EmbeddedPostgres | None
    valkey: EmbeddedValkey | None
    valkey_url: str
    full_store: Path
    cast: Cast
    carrier_off_s: float = 0.0
    campaigns: list[Campaign] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)


@contextmanager
def scene(
    folder: Path,
    urls: DatabaseUrls,
    valkey_url: str,
    seed: int,
    size: Size,
    servers: tuple[EmbeddedPostgres, EmbeddedValkey] | None = None,
) -> Iterator[Scene]:
    """Start the services.

    Args:
        folder: for logs and recordings.
        urls: of a migrated database.
        valkey_url: of an empty Valkey.
        seed: of the clocks and of the carrier.
        size: of the run.
        servers: PostgreSQL and Valkey, where the run may restart them.
    """
    cast = Cast(
        workers=tuple(f"worker-{number}" for number in range(size.workers)),
        recorders=("recorder-0",),
        apis=("api",),
        lease_s=size.lease_s,
        servers=servers is not None,
        brief=size.brief,
    )
    full_store = folder / "store-is-full"
    own: dict[str, dict[str, str]] = {
        name: {service.CLOCK_VARIABLE: str(off)} for name, off in clocks(seed, cast.processes).items()
    }
    own["recorder-0"][service.FULL_VARIABLE] = str(full_store)
    carrier_off_s = carrier_clock(seed)
    with ExitStack() as opened:
        proxies = {
            name: opened.enter_context(Proxy(_port_of(url)).running())
            for name, url in ((POSTGRES, urls.app), (VALKEY, valkey_url))
        }
        carrier = proxies[CARRIER] = opened.enter_context(Proxy().running())
        through = DatabaseUrls(owner=urls.owner, app=_through(urls.app, proxies[POSTGRES]))
        stack = opened.enter_context(
            running_stack(
                folder,
                through,
                _through(valkey_url, proxies[VALKEY]),
                workers=size.workers,
                settings={
                    **size.settings,
                    "PYTHONPATH": str(TESTS),
                    "TWILIO_BASE_URL": f"http://{LOOPBACK}:{carrier.port}",
                },
                simulator={
                    "SIMULATOR_SEED": str(seed),
                    "PYTHONPATH": str(TESTS),
                    service.CLOCK_VARIABLE: str(carrier_off_s),
                },
                argv=service.argv,
                own=own,
            )
        )
        carrier.target_port = _port_of(f"{stack.simulator_url}/")  # its webhooks go past the proxy
        postgres, valkey = servers or (None, None)
        yield Scene(stack, proxies, postgres, valkey, valkey_url, full_store, cast, carrier_off_s)


def _port_of(url: str) -> int:
    return int(url.rpartition("/")[0].rpartition(":")[2])


def _through(url: str, proxy: Proxy) -> str:
    before, slash, database = url.rpartition("/")
    return f"{before.rpartition(':')[0]}:{proxy.port}{slash}{database}"


def start_campaigns(scene: Scene, seed: int, size: Size) -> int:
    """Make the businesses with their leads, start their runs, and let things go wrong at the carrier.

    Some numbers are leads of two businesses, which share the carrier account.

    Returns:
        How many call jobs there are.
    """
    dice = random.Random(f"{seed}:leads")
    shares = [profile.share * dice.uniform(0.8, 1.25) for profile in size.profiles]
    numbers = iter(f"+1415{2_000_000 + index}" for index in dice.sample(range(7_000_000), size.leads))
    jobs, shared = 0, list[str]()
    for profile, share in zip(size.profiles, shares, strict=True):
        business_id, key = scene.stack.business(profile.name, call_cap=profile.cap, calls_per_second=200)
        scene.keys.append(key)
        wanted = max(profile.runs, round(size.leads * share / sum(shares)))
        own = [number for _, number in zip(range(wanted - len(shared)), numbers, strict=False)]
        leads = [*shared, *own]
        scene.stack.add_leads(business_id, leads)
        scene.numbers += own
        shared = dice.sample(own, len(own) // 50)
        jobs += len(leads)
        scene.campaigns += _start_runs(scene, profile, business_id, key)
    scene.stack.sim("POST", "faults", {"seed": seed, **size.carrier})
    return jobs


def _start_runs(scene: Scene, profile: Profile, business_id: int, key: str) -> Iterator[Campaign]:
    rows = scene.stack.rows("SELECT id FROM leads WHERE business_id = %s ORDER BY id", business_id)
    ids = [row["id"] for row in rows]
    with scene.stack.client(key) as client:
        for number in range(profile.runs):
            body: Json = {
                "name": f"{profile.name} {number + 1}",
                "message": "Hello {name}",
                "leads": {"ids": ids[number :: profile.runs]} if profile.runs > 1 else {"all": True},
                "machine_detection": ("off", "detect", "hangup")[number % 3],
                "retry_after_s": {"busy": 0.2, "no_answer": 0.2},
            }
            started = client.post("/api/outbound_calls/runs", json=body).raise_for_status().json()
            yield Campaign(started["id"], started["job_id"], key)


def owner_connection(urls: DatabaseUrls) -> psycopg.Connection[Any]:
    """A connection of the database's owner, past the proxy and past row-level security."""
    url = urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
    return psycopg.connect(url, autocommit=True, connect_timeout=5)
