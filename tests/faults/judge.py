"""Judges a run that is over: every invariant from outside, and the figures that the guarantees name."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

import carrier_truth as truth
from carrier_truth import none_of
from faults.dialled import check_every_lead_was_called
from faults.plan import POSTGRES, Kind
from faults.play import Happened
from faults.scene import Scene
from invariants import assert_invariants

SLOT_FREE_WITHIN_S = 30.0


@dataclass(frozen=True)
class Spread:
    """How measured seconds are spread."""

    number: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of some values; all zero where there are none."""
        ordered = sorted(values)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0, 0.0)

        def at(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

        return cls(len(ordered), at(0.50), at(0.95), at(0.99), round(ordered[-1], 2))


@dataclass(frozen=True)
class Figures:
    """What a run came to.

    Attributes:
        jobs: call jobs, each of which has ended.
        calls: at the carrier.
        attempts: that were admitted.
        retried: attempts of which it was certain that nothing had been sent.
        unknown: attempts that ended as ``outcome_unknown``.
        recordings: kept, each once.
        looks: checks of every invariant while calls went on.
        faults: of processes and servers, by kind.
        carrier_faults: answers to create calls and callbacks that went wrong, by kind.
        recovery: seconds from a fault until a call that was admitted after it has ended, by kind of fault.
        slots: seconds from the end of a call until its slot was free, less the time in which the api, PostgreSQL, the
            carrier's API or every worker was away, or PostgreSQL slow.
        slots_in_all: the same with that time.
    """

    jobs: int
    calls: int
    attempts: int
    retried: int
    unknown: int
    recordings: int
    looks: int
    faults: dict[str, int]
    carrier_faults: dict[str, int]
    recovery: dict[str, list[float]]
    slots: Spread
    slots_in_all: Spread


@dataclass(frozen=True)
class _Attempt:
    admitted_at: float
    settled_at: float
    state: str


@dataclass
class _Seen:
    """The rows and the carrier's own account, read once."""

    attempts: dict[str, _Attempt] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)


def judge(scene: Scene, happened: Sequence[Happened], looks: int) -> Figures:
    """Check every invariant of a run that is over, and count.

    Args:
        scene: of the run.
        happened: the faults that were played.
        looks: how often the invariants were checked before.

    Raises:
        AssertionError: an invariant is broken; the message says which and where.
    """
    stack = scene.stack
    if not looks:
        raise AssertionError("nothing was checked while calls went on")
    with redis.Redis.from_url(scene.valkey_url) as client:
        # Killed between its commit and Redis, a process leaves a member there; the next rebuild takes it out.
        assert_invariants(stack.urls.owner, client, stack.simulator_url, at_rest=True, within_s=30)
    truth.check_the_cap_held(stack)
    truth.check_every_call_is_known_and_ended_as_the_carrier_says(stack)
    check_every_lead_was_called(scene, happened)
    _check_what_people_see(scene)
    truth.check_every_recording_is_kept_once(stack)
    seen = _read(scene)
    away = _away(scene, happened)
    slots = {key: at - seen.ended_at[key] for key, at in _settled_of(seen).items()}
    net = {key: slots[key] - overlap(away, seen.ended_at[key], seen.attempts[key].settled_at) for key in slots}
    late = {key: round(seconds, 1) for key, seconds in net.items() if seconds > SLOT_FREE_WITHIN_S}
    none_of(late, f"slots that were free later than {SLOT_FREE_WITHIN_S:g} s after the end of their call")
    return _figures(
        scene, happened, seen, looks=looks, slots=Spread.of(net.values()), slots_in_all=Spread.of(slots.values())
    )


def _check_what_people_see(scene: Scene) -> None:
    for campaign in scene.campaigns:
        with scene.stack.client(campaign.key) as client:
            view = client.get(f"/api/outbound_calls/runs/{campaign.id}").raise_for_status().json()
            task = client.get(f"/api/tasks/{campaign.task}").raise_for_status().json()
        truth.check_counters(scene.stack, campaign.id, view, task)


def _read(scene: Scene) -> _Seen:
    rows = scene.stack.rows(
        "SELECT id::text, extract(epoch FROM created_at)::float8 AS admitted_at, "
        "extract(epoch FROM settled_at)::float8 AS settled_at, state FROM call_attempts"
    )
    calls: list[dict[str, Any]] = scene.stack.sim("GET", "calls")
    return _Seen(
        {row.pop("id"): _Attempt(**row) for row in rows},
        # The carrier's times on PostgreSQL's clock, to which they are held.
        {call["attempt"]: call["ended_at"] - scene.carrier_off_s for call in calls},
    )


def _settled_of(seen: _Seen) -> dict[str, float]:
    """When each attempt was settled that had a call."""
    return {key: seen.attempts[key].settled_at for key in seen.ended_at}


def _away(scene: Scene, happened: Sequence[Happened]) -> list[tuple[float, float]]:
    """When the api, PostgreSQL, the carrier's API or every worker was away: a slot can be free once they are back.

    While PostgreSQL is slow the sweep is away for most of its calls: it looks into one after the other.
    """
    workers = set(scene.cast.workers)
    server_kinds, carrier_kinds = {Kind.REFUSE, Kind.HOLD, Kind.SLOW, Kind.RESTART_POSTGRES}, {Kind.AWAY, Kind.SILENT}
    spans = [
        (item.began_at, item.ready_at or item.began_at)
        for item in happened
        if (set(item.fault.targets) & set(scene.cast.apis))
        or workers <= set(item.fault.targets)
        or (POSTGRES in item.fault.targets and item.fault.kind in server_kinds)
        or item.fault.kind in carrier_kinds
    ]
    return joined(spans)


def joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans of time without those that overlap, in order."""
    apart: list[tuple[float, float]] = []
    for began, over in sorted(spans):
        if apart and began <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(apart[-1][1], over))
        else:
            apart.append((began, over))
    return apart


def overlap(spans: Sequence[tuple[float, float]], began: float, over: float) -> float:
    """How much of the time from ``began`` to ``over`` lies in some spans."""
    return sum(max(0.0, min(over, last) - max(began, first)) for first, last in spans)


def _recoveries(happened: Sequence[Happened], seen: _Seen) -> dict[str, list[float]]:
    attempts = sorted(
        ((row.admitted_at, row.settled_at) for row in seen.attempts.values() if row.state != "not_placed"),
    )
    earliest = [float("inf")]
    for _, settled_at in reversed(attempts):
        earliest.append(min(earliest[-1], settled_at))
    earliest.reverse()  # now: the first end among the attempts from this place on
    admitted = [admitted_at for admitted_at, _ in attempts]
    found: defaultdict[str, list[float]] = defaultdict(list)
    for item in happened:
        end = earliest[bisect_left(admitted, item.began_at)]
        if end != float("inf"):
            found[str(item.fault.kind)].append(round(end - item.began_at, 2))
    return dict(found)


def _figures(
    scene: Scene, happened: Sequence[Happened], seen: _Seen, *, looks: int, slots: Spread, slots_in_all: Spread
) -> Figures:
    stack, report = scene.stack, scene.stack.sim("GET", "report")
    wrong = {
        **{name: number for name, number in report["creates"].items() if name not in {"answered", "rejected"}},
        **{f"callbacks {name}": report["callbacks"][name] for name in ("lost", "duplicated", "delayed", "reordered")},
        "callbacks not taken": report["callbacks"]["unreachable"] + report["callbacks"]["refused"],
        "media cut": report["recordings"]["cut"],
    }
    return Figures(
        jobs=stack.value("SELECT count(*) FROM outbound_call_jobs"),
        calls=report["calls"],
        attempts=len(seen.attempts),
        retried=sum(1 for row in seen.attempts.values() if row.state == "not_placed"),
        unknown=stack.value("SELECT count(*) FROM call_attempts WHERE reason = 'outcome_unknown'"),
        recordings=stack.value("SELECT count(*) FROM recordings"),
        looks=looks,
        faults=dict(Counter(str(item.fault.kind) for item in happened)),
        carrier_faults=wrong,
        recovery=_recoveries(happened, seen),
        slots=slots,
        slots_in_all=slots_in_all,
    )
