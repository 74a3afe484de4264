"""What goes wrong when: a plan that a seed decides, and nothing else.

Moments are counted in attempts that were admitted or settled, so they follow what really happens and not the clock. A
fault may begin while an earlier one still lasts.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

POSTGRES, VALKEY, STORE, CARRIER = "postgres", "valkey", "store", "carrier"
LONGEST_PAUSE = 1.3
"""The longest stop, as a share of the lease."""
CARRIER_OFF_S = 5.0


class Kind(StrEnum):
    """What can happen to the processes and servers of the run."""

    KILL = "kill -9"
    STOP_BRIEFLY = "stopped, shorter than the lease"
    STOP_FOR_LONG = "stopped, longer than the lease"
    CUT = "connections cut"
    REFUSE = "connections refused"
    HOLD = "connections silent"
    SLOW = "PostgreSQL slow"
    AWAY = "carrier refuses connections"
    SILENT = "carrier silent"
    FLUSH = "Valkey flushed"
    RESTART_VALKEY = "Valkey restarted, empty"
    RESTART_POSTGRES = "PostgreSQL restarted, immediate"
    STORE_FULL = "recordings store full"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: what.
        targets: whom: names of processes, or of the servers above.
        at: how many attempts there are when it begins.
        counted: which: those ``admitted`` or those ``settled``.
        lasts_s: seconds until it is over; 0: at once.
    """

    kind: Kind
    targets: tuple[str, ...]
    at: int
    counted: str
    lasts_s: float

    def __str__(self) -> str:
        lasting = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.kind}: {' + '.join(self.targets)}{lasting}, at {self.at} {self.counted}"


@dataclass(frozen=True)
class Cast:
    """Who is there to be harmed.

    Attributes:
        workers: names of the worker processes.
        recorders: of the recorders.
        apis: of the apis.
        lease_s: the services' lease in seconds.
        servers: whether PostgreSQL and Valkey may be restarted.
        brief: only what a slice of the run has time for.
    """

    workers: Sequence[str]
    recorders: Sequence[str]
    apis: Sequence[str]
    lease_s: float
    servers: bool = True
    brief: bool = False

    @property
    def processes(self) -> tuple[str, ...]:
        """Everybody, workers first."""
        return (*self.workers, *self.recorders, *self.apis)


@dataclass(frozen=True)
class _Card:
    kind: Kind
    targets: tuple[str, ...]
    shortest_s: float = 0.0
    longest_s: float = 0.0


def plan(seed: int, cast: Cast, *, attempts: int, number: int) -> list[Fault]:
    """The faults of a run.

    Args:
        seed: decides everything.
        cast: who is there.
        attempts: that the run admits for certain; the last fault begins before that.
        number: how many faults; each kind comes before any comes twice.
    """
    dice = random.Random(seed)
    cards = _deal(dice, cast, number)
    points = sorted(dice.sample(range(2, max(attempts, number + 3)), number))
    return [
        Fault(
            card.kind,
            card.targets,
            point,
            dice.choice(("admitted", "settled")),
            round(dice.uniform(card.shortest_s, card.longest_s), 1),
        )
        for card, point in zip(cards, points, strict=True)
    ]


def clocks(seed: int, processes: Sequence[str]) -> dict[str, float]:
    """By how many seconds the clock of each process is off; that of the first one is right."""
    dice = random.Random(f"{seed}:clocks")
    wrong = [-86_400.0, -3_600.0, -45.0, 45.0, 3_600.0, 86_400.0]
    return {name: dice.choice(wrong) if at else 0.0 for at, name in enumerate(processes)}


def carrier_clock(seed: int) -> float:
    """By how many seconds the carrier's clock is off. Twilio's own is right, and still not PostgreSQL's."""
    return round(random.Random(f"{seed}:clock of the carrier").uniform(-CARRIER_OFF_S, CARRIER_OFF_S), 1)


def _deal(dice: random.Random, cast: Cast, number: int) -> list[_Card]:
    """Whole decks, each shuffled, and a part of the last one."""
    dealt: list[_Card] = []
    while len(dealt) < number:
        deck = list(_brief_deck(cast) if cast.brief else _deck(cast))
        dice.shuffle(deck)
        dealt += deck
    return dealt[:number]


def _deck(cast: Cast) -> Iterator[_Card]:
    lease = cast.lease_s
    for name in cast.processes:
        yield _Card(Kind.KILL, (name,), 0.0, 3.0)
        yield _Card(Kind.STOP_BRIEFLY, (name,), 0.1 * lease, 0.7 * lease)
        yield _Card(Kind.STOP_FOR_LONG, (name,), 1.05 * lease, LONGEST_PAUSE * lease)
    yield _Card(Kind.KILL, cast.processes)
    yield _Card(Kind.KILL, tuple(cast.workers), 0.0, 3.0)
    yield _Card(Kind.STOP_FOR_LONG, tuple(cast.workers), 1.05 * lease, LONGEST_PAUSE * lease)
    for server in ((POSTGRES,), (VALKEY,), (POSTGRES, VALKEY)):
        yield _Card(Kind.CUT, server)
        yield _Card(Kind.REFUSE, server, 0.5, 4.0)
        yield _Card(Kind.HOLD, server, 0.5, 0.6 * lease)
    yield _Card(Kind.HOLD, (POSTGRES,), 1.05 * lease, LONGEST_PAUSE * lease)
    yield _Card(Kind.HOLD, (VALKEY,), 1.05 * lease, LONGEST_PAUSE * lease)
    # A breaker that a refusal opens stays open for half a minute, so neither has to last long.
    yield _Card(Kind.AWAY, (CARRIER,), 1.0, 4.0)
    yield _Card(Kind.SILENT, (CARRIER,), 2.0, 0.8 * lease)
    yield _Card(Kind.SLOW, (POSTGRES,), 2.0, 0.8 * lease)
    yield _Card(Kind.FLUSH, (VALKEY,))
    yield _Card(Kind.FLUSH, (VALKEY,))
    yield _Card(Kind.STORE_FULL, (STORE,), 2.0, 15.0)
    if cast.servers:
        yield _Card(Kind.RESTART_VALKEY, (VALKEY,), 0.0, 3.0)
        yield _Card(Kind.RESTART_POSTGRES, (POSTGRES,), 0.0, 3.0)


def _brief_deck(cast: Cast) -> Iterator[_Card]:
    """One of each sort that needs no server restarted and, a start being dear, few processes."""
    lease = cast.lease_s
    yield _Card(Kind.KILL, (cast.workers[0],), 0.0, 0.5)
    yield _Card(Kind.KILL, cast.processes)
    yield _Card(Kind.STOP_FOR_LONG, (cast.workers[-1],), 1.05 * lease, LONGEST_PAUSE * lease)
    yield _Card(Kind.CUT, (POSTGRES, VALKEY))
    yield _Card(Kind.HOLD, (POSTGRES,), 0.5, 1.0)
    yield _Card(Kind.SLOW, (POSTGRES,), 0.5, 1.0)
    yield _Card(Kind.SILENT, (CARRIER,), 0.5, 1.0)
    yield _Card(Kind.FLUSH, (VALKEY,))
    yield _Card(Kind.STORE_FULL, (STORE,), 0.5, 2.0)
