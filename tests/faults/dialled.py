"""What became of every lead of a run: each was called by the rules, and every outcome that nobody knows has its cause.

A create call that is answered 5xx, or whose process or line breaks off behind the last look, may have been placed.
Where the carrier has no call of it, it ends as ``outcome_unknown`` and is never dialled again. So each of them must be
a 5xx that the carrier counted, or a fault that was there when it was sent; and none may be dialled again or forgotten.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from carrier_truth import none_of
from faults.plan import CARRIER, POSTGRES, Fault, Kind
from faults.play import Happened
from faults.scene import Scene
from switchboard_core.calls.settle import OUTCOME_UNKNOWN

Json = dict[str, Any]

IN_FLIGHT_S = 10.0
"""So long before a fault, and behind it, a request may be on its way that the fault breaks off: a timeout and some."""

# Nobody cancels in a fault run, and nobody is on the do-not-call list: every lead is called, to the last try.
_BROKEN_RULES = {
    "call jobs that have ended without a call that was placed, or may have been": """
        SELECT j.id, j.status, j.reason FROM outbound_call_jobs j WHERE NOT EXISTS (
            SELECT FROM call_attempts a WHERE a.job_id = j.id AND a.sent_at IS NOT NULL AND a.state <> 'not_placed')
    """,
    "call jobs that have ended though their run tries such ends again": f"""
        SELECT j.id, j.status, j.attempts, r.max_attempts
        FROM outbound_call_jobs j JOIN outbound_call_runs r ON r.id = j.run_id
        WHERE r.retry_after_s ? j.status AND j.attempts < r.max_attempts
          AND j.reason IS DISTINCT FROM '{OUTCOME_UNKNOWN}'
    """,
    "call jobs that were taken out, or ended by the doctor, in a run without either": """
        SELECT id, status, reason FROM outbound_call_jobs WHERE status = 'skipped' OR reason = 'its run was over'
    """,
    "attempts of unknown outcome that were never sent": f"""
        SELECT id::text, state FROM call_attempts WHERE reason = '{OUTCOME_UNKNOWN}' AND sent_at IS NULL
    """,
}


@dataclass(frozen=True)
class Cause:
    """A fault that may have swallowed create calls.

    Attributes:
        began: first moment at which one of them was sent.
        over: last such moment.
        most: how many at most.
    """

    began: float
    over: float
    most: int


def check_every_lead_was_called(scene: Scene, happened: Sequence[Happened]) -> None:
    """Every job was dialled by its run's rules; the carrier has its calls, or nobody knows, and that has its cause.

    Raises:
        AssertionError: a lead was not called, or an outcome is unknown and nothing explains it.
    """
    report = scene.stack.sim("GET", "report")
    unknown = check_jobs_and_attempts(scene.stack.rows, report["calls_by_attempt"])
    causes = causes_of(happened, workers=scene.cast.workers, read_timeout_s=_read_timeout_s(scene))
    check_unknown(unknown, report["creates"]["answered_5xx_before"], causes)


def check_jobs_and_attempts(rows: Callable[[str], list[Json]], called: Collection[str]) -> list[Json]:
    """Every job was dialled by its run's rules; the carrier has its call, or nobody knows.

    Args:
        rows: reads the database as its owner.
        called: the attempts that the carrier has calls of.

    Returns:
        The attempts of unknown outcome, each with its ``id``, ``job_id`` and ``sent_at``.

    Raises:
        AssertionError: a lead was not called, or a call of an unknown outcome is at the carrier.
    """
    for rule, query in _BROKEN_RULES.items():
        none_of(rows(query), rule)
    attempts = rows(
        "SELECT id::text, job_id, reason, extract(epoch FROM sent_at)::float8 AS sent_at FROM call_attempts"
    )
    unknown = [row for row in attempts if row["reason"] == OUTCOME_UNKNOWN]
    none_of([row["id"] for row in unknown if row["id"] in called], "unknown outcomes of calls that the carrier has")
    jobs = {row["id"] for row in rows("SELECT id FROM outbound_call_jobs")}
    never = jobs - {row["job_id"] for row in unknown} - {row["job_id"] for row in attempts if row["id"] in called}
    none_of(never, "call jobs without a call at the carrier and without an unknown outcome")
    return unknown


def check_unknown(unknown: Sequence[dict[str, Any]], refused: int, causes: Iterable[Cause]) -> None:
    """Each create call that the carrier answered 5xx and did not place ends as unknown, and so does little else.

    Args:
        unknown: attempts with that end, of which the carrier has no call.
        refused: create calls that the carrier answered 5xx and did not place.
        causes: faults that may have swallowed others.
    """
    if len(unknown) < refused:
        raise AssertionError(
            f"{refused} create calls were answered 5xx, but only {len(unknown)} outcomes are unknown: "
            "one was taken for certain"
        )
    explained = matched([row["sent_at"] for row in unknown], causes)
    if len(unknown) - refused > explained:
        raise AssertionError(
            f"{len(unknown)} outcomes are unknown, of which {refused} were answered 5xx; "
            f"the faults explain {explained} more: {[row['id'] for row in unknown]}"
        )


def matched(moments: Iterable[float], causes: Iterable[Cause]) -> int:
    """How many moments can be given to causes that cover them, none of which takes more than its share."""
    free = sorted(moments)
    before = len(free)
    # Who is over first chooses first, and takes the earliest: so nobody is left without one who could have had it.
    for cause in sorted(causes, key=lambda cause: cause.over):
        first, behind = bisect_left(free, cause.began), bisect_right(free, cause.over)
        del free[first : min(behind, first + cause.most)]
    return before - len(free)


def causes_of(happened: Iterable[Happened], *, workers: Sequence[str], read_timeout_s: float) -> list[Cause]:
    """The faults that may have swallowed create calls; a worker sends one at a time."""
    return [
        Cause(
            item.began_at - IN_FLIGHT_S,
            (item.ready_at or item.began_at) + IN_FLIGHT_S,
            _swallows(item.fault, workers, read_timeout_s),
        )
        for item in happened
    ]


def _swallows(fault: Fault, workers: Sequence[str], read_timeout_s: float) -> int:
    """How many create calls may have been marked as sent and never come to the carrier."""
    if fault.kind is Kind.SILENT:
        # Each gives up behind the timeout, and one may be on its way before and behind.
        return len(workers) * (2 + int(fault.lasts_s / read_timeout_s))
    if {CARRIER, POSTGRES} & set(fault.targets):
        return len(workers)  # the answer to the commit of the last look is lost, or the line breaks behind it
    return len(set(fault.targets) & set(workers))


def _read_timeout_s(scene: Scene) -> float:
    return float(scene.stack.env["CARRIER_READ_TIMEOUT_SECONDS"])
