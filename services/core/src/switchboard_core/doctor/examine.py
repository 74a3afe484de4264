"""Looks at a live system twice, and calls a breach only what is there both times. Changes nothing.

It works as the application's role, under row-level security, business by business: it needs no owner and no superuser,
and it can run in any pod that has the environment of a worker. Each business is read from one snapshot, in a
transaction that PostgreSQL itself keeps from writing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from switchboard_core import crossing
from switchboard_core.calls.carrier import CarrierUnavailableError
from switchboard_core.doctor.carrier import Calls
from switchboard_core.doctor.queues import Queues
from switchboard_core.doctor.rows import broken_rows
from switchboard_core.doctor.rules import Finding
from switchboard_core.runtime import Runtime

_READ_ONLY: dict[str, Any] = {"postgresql_readonly": True}
_SNAPSHOT: dict[str, Any] = {**_READ_ONLY, "isolation_level": "REPEATABLE READ"}
_LOOKS = 4
_MESSAGE_GRACE_S = 300.0


@dataclass(frozen=True)
class Scope:
    """What to look at.

    Attributes:
        business_id: this business only; None for all, and for what belongs to nobody.
        days: runs that ended longer ago are history.
        ask_carrier: hold the slots against the carrier's calls too.
    """

    business_id: int | None = None
    days: int = 7
    ask_carrier: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: the breaches, in order.
        businesses: how many were looked at.
        unasked: servers that did not answer, so that what depends on them was not looked at.
    """

    findings: tuple[Finding, ...]
    businesses: int
    unasked: tuple[str, ...] = ()


@dataclass
class _Look:
    found: list[Finding] = field(default_factory=list)
    businesses: int = 0
    unasked: list[str] = field(default_factory=list)


def second_look_s(runtime: Runtime) -> float:
    """Seconds in which the sweep puts right what a crash, an emptied Redis or a lost webhook leaves behind."""
    settings = runtime.settings
    return max(5.0, 16 * settings.sweep_interval_seconds, 2 * settings.settle_after_seconds)


def examine(
    runtime: Runtime,
    scope: Scope | None = None,
    *,
    within_s: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Diagnosis:
    """Look, and look again as long as something was seen.

    Args:
        runtime: of any process with the environment of a worker.
        scope: what to look at.
        within_s: how long a breach must last; by default what the sweep needs to heal by itself what it heals.
        sleep: waits for so many seconds.

    Returns:
        What was there at the first look and at every one after it.
    """
    scope = scope or Scope()
    first = _look(runtime, scope)
    lasting, unasked = first.found, first.unasked
    pause_s = (second_look_s(runtime) if within_s is None else within_s) / _LOOKS
    for _ in range(_LOOKS):
        if not lasting:
            break
        sleep(pause_s)
        again = _look(runtime, scope)
        there = {finding.same: finding for finding in again.found}
        lasting = [there[finding.same] for finding in lasting if finding.same in there]
        unasked = [*unasked, *again.unasked]
    return Diagnosis(tuple(sorted(lasting)), first.businesses, tuple(dict.fromkeys(unasked)))


def _look(runtime: Runtime, scope: Scope) -> _Look:
    look = _Look()
    with runtime.database.crossing() as session:
        business_ids = [ref.business_id for ref in crossing.businesses(session)]
    if scope.business_id is not None:
        business_ids = [found for found in business_ids if found == scope.business_id]
    look.businesses = len(business_ids)
    queues, calls = Queues(runtime), _calls(runtime, scope, look)
    for business_id in business_ids:
        _look_at(runtime, scope, business_id, queues, calls, look)
    if scope.business_id is None:
        with runtime.database.crossing() as session:
            session.connection(execution_options=_READ_ONLY)
            look.found += queues.of_all(session)
            look.found += calls.of_all(session) if calls else ()
    try:
        runtime.redis.ping()
    except RedisError:
        look.unasked.append("Redis")
    return look


def _calls(runtime: Runtime, scope: Scope, look: _Look) -> Calls | None:
    if not scope.ask_carrier:
        return None
    try:
        return Calls(runtime)
    except CarrierUnavailableError:
        look.unasked.append("the carrier")
        return None


def _look_at(
    runtime: Runtime, scope: Scope, business_id: int, queues: Queues, calls: Calls | None, look: _Look
) -> None:
    with runtime.database.tenant(business_id) as session:
        session.connection(execution_options=_SNAPSHOT)
        look.found += broken_rows(session, days=scope.days, grace_s=_MESSAGE_GRACE_S)
        look.found += queues.of_business(session)
    if calls is None:
        return
    try:
        with runtime.database.tenant(business_id) as session:
            session.connection(execution_options=_READ_ONLY)
            look.found += list(calls.of_business(session))
    except CarrierUnavailableError:
        look.unasked.append("the carrier")
