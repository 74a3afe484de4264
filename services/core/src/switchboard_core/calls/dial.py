"""Places one admitted call, at most once.

The attempt is committed before anything is sent. The connection stands before the last look: only if the attempt is
still wanted, was never sent and is younger than its deadline does ``sent_at`` become set, and only then does the first
byte leave. What remains is a process that is stopped between that look and the send for longer than the carrier keeps
the connection open; docs/concepts.md describes it.
"""

import random
import uuid
from dataclasses import dataclass

import stamina
from sqlalchemy import select, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from switchboard_core.calls.admission import Admitted
from switchboard_core.calls.carrier import (
    AnswerLostError,
    CallOrder,
    CarrierUnavailableError,
    NotSentError,
    RejectedError,
)
from switchboard_core.calls.models import CallAttempt, OutboundCallRun
from switchboard_core.calls.policy import Breaker
from switchboard_core.calls.settle import Evidence, apply_event
from switchboard_core.calls.states import AttemptState, CallEvent, RunStatus
from switchboard_core.failpoints import reach
from switchboard_core.logs import get_logger, mask_number
from switchboard_core.metrics import CARRIER_ANSWERS
from switchboard_core.runtime import Runtime
from switchboard_core.sql import after_seconds, db_now
from switchboard_core.tenancy.models import Business

log = get_logger(__name__)

_jitter = random.Random()  # noqa: S311 - spreads probes, protects nothing


class CallOffError(Exception):
    """The last look before the send said no: cancelled, paused, too late, or sent by somebody else."""


def dial(runtime: Runtime, admitted: Admitted) -> None:
    """Place the call and write down what the carrier said. Raises nothing that the carrier may cause."""
    attempt = admitted.attempt
    answer = _send(runtime, admitted)
    log.info(
        "call dialled" if answer.event is CallEvent.CREATED else "call not confirmed",
        run_id=attempt.run_id,
        job_id=attempt.job_id,
        attempt_id=str(attempt.id),
        number=attempt.number,
        to=mask_number(attempt.to_number),
        answer=str(answer.event),
        reason=answer.evidence.reason,
    )
    if answer.asked:
        CARRIER_ANSWERS.labels(answer=str(answer.event)).inc()
    reach("before_answer_is_saved")
    _write_down(runtime, attempt.business_id, attempt.id, answer.event, answer.evidence)
    if answer.carrier_works is not None:
        _record_breaker(runtime, admitted, ok=answer.carrier_works, reason=answer.evidence.reason)


@dataclass(frozen=True)
class _Answer:
    """What came of a create call.

    Attributes:
        event: what it means for the attempt.
        evidence: what is known.
        carrier_works: None: no telling.
        asked: false where we called it off ourselves, which is no answer of the carrier.
    """

    event: CallEvent
    evidence: Evidence
    carrier_works: bool | None
    asked: bool = True


def _send(runtime: Runtime, admitted: Admitted) -> _Answer:
    attempt = admitted.attempt
    try:
        call = runtime.carrier.create(order_of(runtime, admitted), lambda: _mark_sent(runtime, attempt))
    except CallOffError as off:
        return _Answer(CallEvent.NOT_SENT, Evidence(reason=str(off)), None, asked=False)
    except NotSentError as error:
        evidence = Evidence(reason=str(error), retry_after_s=error.retry_after_s)
        return _Answer(CallEvent.NOT_SENT, evidence, False if error.carrier_fault else None)
    except AnswerLostError as error:
        return _Answer(CallEvent.ANSWER_LOST, Evidence(reason=str(error)), carrier_works=False)
    except RejectedError as error:
        # A refusal of the account says nothing about the lead: its job waits until the account works again.
        event = CallEvent.NOT_SENT if error.account_fault else CallEvent.REJECTED
        return _Answer(event, Evidence(reason=str(error)), not error.account_fault)
    return _Answer(CallEvent.CREATED, Evidence(call_sid=call.sid, carrier_status=call.status), carrier_works=True)


def order_of(runtime: Runtime, admitted: Admitted) -> CallOrder:
    """The create call of an attempt; every callback carries the attempt's id."""
    attempt, run = admitted.attempt, admitted.run
    base = f"{runtime.settings.public_url}/webhooks/twilio"
    query = f"attempt={attempt.id}&business={attempt.business_id}"
    return CallOrder(
        to_number=attempt.to_number,
        from_number=attempt.from_number,
        voice_url=f"{base}/voice?{query}",
        status_url=f"{base}/status?{query}",
        recording_url=f"{base}/recording?{query}" if run.record else None,
        amd_url=f"{base}/amd?{query}" if run.machine_detection != "off" else None,
        ring_timeout_s=run.ring_timeout_s,
    )


def _mark_sent(runtime: Runtime, attempt: CallAttempt) -> None:
    """The last look, on the database's clock; it can succeed once in the life of an attempt."""
    reach("before_look")
    run_wants_it = (
        select(OutboundCallRun.id)
        .where(OutboundCallRun.id == attempt.run_id, OutboundCallRun.status == RunStatus.RUNNING)
        .exists()
    )
    with runtime.database.tenant(attempt.business_id) as session:
        marked = session.execute(
            update(CallAttempt)
            .where(
                CallAttempt.id == attempt.id,
                CallAttempt.state == AttemptState.DIALING,
                CallAttempt.sent_at.is_(None),
                CallAttempt.created_at > after_seconds(-runtime.settings.dial_deadline_seconds),
                run_wants_it,
            )
            .values(sent_at=db_now())
            .returning(CallAttempt.id)
            .execution_options(synchronize_session=False)
        ).first()
    if marked is None:
        msg = "called off just before the send: paused, cancelled, too late or sent already"
        raise CallOffError(msg)
    reach("before_send")


@stamina.retry(on=(OperationalError, InterfaceError), attempts=8, timeout=30.0)
def _write_down(
    runtime: Runtime, business_id: int, attempt_id: uuid.UUID, event: CallEvent, evidence: Evidence
) -> None:
    """Keep what the carrier said; a sid is saved whatever state the attempt is in by now."""
    with runtime.database.tenant(business_id) as session:
        applied = apply_event(session, runtime, attempt_id, event, evidence)
    if applied and applied.hang_up and applied.attempt.call_sid:
        hang_up(runtime, applied.attempt.call_sid)


def hang_up(runtime: Runtime, call_sid: str) -> bool:
    """End a call at the carrier; false where it cannot be reached: the next look at the call tries again."""
    try:
        runtime.carrier.hang_up(call_sid)
    except CarrierUnavailableError as error:
        log.warning("hang-up failed; tried again at the next look at the call", call_sid=call_sid, error=str(error))
        return False
    log.info("call hung up", call_sid=call_sid)
    return True


def _record_breaker(runtime: Runtime, admitted: Admitted, *, ok: bool, reason: str | None) -> None:
    if ok and admitted.breaker.failures == 0:
        return
    with runtime.database.tenant(admitted.attempt.business_id) as session:
        _move_breaker(session, admitted.attempt.business_id, ok=ok, reason=reason)


def _move_breaker(session: Session, business_id: int, *, ok: bool, reason: str | None) -> None:
    business = session.get_one(Business, business_id, with_for_update={"key_share": True})
    now = session.execute(select(db_now())).scalar_one()
    breaker = Breaker(business.breaker_failures, business.breaker_open_until)
    after = breaker.after(ok=ok, now=now, jitter=_jitter.random())
    business.breaker_failures, business.breaker_open_until = after.failures, after.open_until
    if after.is_open(now) and not breaker.is_open(now):
        log.error(
            "breaker opened: the carrier fails", business_id=business_id, until=str(after.open_until), reason=reason
        )
    elif ok and breaker.failures:
        log.info("breaker closed: the carrier works again", business_id=business_id)
