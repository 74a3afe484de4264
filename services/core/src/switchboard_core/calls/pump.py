"""The pump: admits and dials until nothing of the business is admissible."""

import time

from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.admission import Admitted, Idle, LookAgain, admit_next
from switchboard_core.calls.dial import dial, hang_up
from switchboard_core.calls.models import CallAttempt
from switchboard_core.failpoints import reach
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.settings import ServiceRole
from switchboard_core.tenancy.models import Business

log = get_logger(__name__)

_WORTH_WAITING_S = 0.25
"""A wait for the rate that is shorter than this is waited out; a longer one is left to the sweep."""
_WHILE_OTHERS_WAIT_S = 0.2
"""How long a worker stays with one business while something else waits for it, and the longest it sleeps at once."""
_LOOKS = 5
"""How often a rebuild looks again while slots are taken and freed under its hands."""


def process_next(runtime: Runtime, job_id: int, run_id: int, *, budget_s: float = 2.0) -> bool:
    """Admit and dial calls of the run's business.

    Args:
        runtime: of the worker.
        job_id: the run's background job, for the log.
        run_id: the run whose business is pumped; all its running runs take turns.
        budget_s: seconds this call should take at most.

    Returns:
        Whether there may be more to do.
    """
    with runtime.database.crossing() as session:
        ref = crossing.run(session, run_id)
    if ref is None:
        return False
    log.info("ProcessNext", job_id=job_id, run_id=run_id, business_id=ref.business_id)
    hang_up_requested(runtime, ref.business_id)
    started = time.monotonic()
    while (spent_s := time.monotonic() - started) < budget_s:
        if spent_s >= _WHILE_OTHERS_WAIT_S and _others_wait(runtime):
            return True
        if _full(runtime, ref.business_id):
            reach("before_pump_gives_up")
            return False
        with runtime.database.tenant(ref.business_id) as session:
            outcome = admit_next(session, runtime)
        if isinstance(outcome, Admitted):
            reach("after_attempt_commit")
            _take_slot(runtime, ref.business_id, outcome)
            dial(runtime, outcome)
        elif isinstance(outcome, Idle) and not _waited(outcome):
            log.debug("pump idle", business_id=ref.business_id, why=outcome.why, wake_at=str(outcome.wake_at))
            reach("before_pump_gives_up")
            return False
        elif isinstance(outcome, LookAgain):
            continue
    return True


def hang_up_requested(runtime: Runtime, business_id: int) -> int:
    """Hang up the calls of a business that a person or a rule asked to end; returns how many were reached."""
    with runtime.database.tenant(business_id) as session:
        sids = session.scalars(
            select(CallAttempt.call_sid).where(
                CallAttempt.settled_at.is_(None),
                CallAttempt.hangup_requested_at.is_not(None),
                CallAttempt.call_sid.is_not(None),
            )
        ).all()
    return sum(hang_up(runtime, sid) for sid in sids if sid)


def _waited(idle: Idle) -> bool:
    if idle.wait_s is None or idle.wait_s > _WORTH_WAITING_S:
        return False
    time.sleep(min(idle.wait_s, _WHILE_OTHERS_WAIT_S))
    return True


def _others_wait(runtime: Runtime) -> bool:
    """Whether anything waits in the queues that a worker consumes; a Redis that does not answer has nothing to do."""
    try:
        with runtime.transport.patience.telling():
            return runtime.transport.waiting(runtime.settings.queues_for(ServiceRole.WORKER)) > 0
    except RedisError:
        return False


def _full(runtime: Runtime, business_id: int) -> bool:
    """Whether every slot is taken, by a quick look at Redis. A full look is checked against PostgreSQL first."""
    try:
        active = runtime.slots.active(business_id)
        if active == 0:
            return False
        with runtime.database.tenant(business_id) as session:
            cap = session.scalar(select(Business.call_cap).where(Business.id == business_id)) or 0
            if active < cap:
                return False
            return rebuild_slots(session, runtime, business_id) >= cap
    except RedisError:
        return False


def rebuild_slots(session: Session, runtime: Runtime, business_id: int) -> int:
    """Make the semaphore what PostgreSQL says; returns how many slots are taken. Raises ``RedisError``.

    Looks again behind the write: a slot that was freed between reading and writing would come back with it.
    """
    live, size = _live(session), 0
    for _ in range(_LOOKS):
        size = runtime.slots.rebuild(business_id, live)
        written, live = live, _live(session)
        if live == written:
            break
    return size


def _live(session: Session) -> set[str]:
    return {str(found) for found in session.scalars(select(CallAttempt.id).where(CallAttempt.settled_at.is_(None)))}


def _take_slot(runtime: Runtime, business_id: int, admitted: Admitted) -> None:
    try:
        with runtime.transport.patience.telling():
            taken = runtime.slots.acquire(business_id, str(admitted.attempt.id), admitted.cap)
        if not taken:
            # Redis holds members that PostgreSQL has settled: it is the one that is wrong.
            with runtime.database.tenant(business_id) as session:
                rebuild_slots(session, runtime, business_id)
    except RedisError:
        log.warning("slot not noted in Redis; the next rebuild corrects it", business_id=business_id)
