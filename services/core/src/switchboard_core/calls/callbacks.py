"""What the carrier's webhooks mean. Each is applied in one transaction; the api acknowledges and never dials.

It does hang up, where a call goes on that nobody wants: that must work with every worker dead.
"""

import uuid
from collections.abc import Mapping
from xml.sax.saxutils import escape

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.dial import hang_up
from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.calls.progress import wake_pump
from switchboard_core.calls.settle import Applied, Evidence, apply_event
from switchboard_core.calls.states import AttemptState, carrier_event
from switchboard_core.db import set_tenant
from switchboard_core.jobs.transport import process_next_wakeup
from switchboard_core.leads.models import Lead
from switchboard_core.logs import get_logger
from switchboard_core.recordings.service import note_recording
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

Form = Mapping[str, str]


def find_attempt(runtime: Runtime, attempt: str | None, form: Form) -> crossing.AttemptRef | None:
    """The attempt that a webhook is about: by the id in its URL, else by the call's sid."""
    with runtime.database.crossing() as session:
        return _find(session, attempt, form)


def _find(session: Session, attempt: str | None, form: Form) -> crossing.AttemptRef | None:
    if attempt:
        try:
            return crossing.attempt(session, uuid.UUID(attempt))
        except ValueError:
            return None
    return crossing.attempt_by_sid(session, form.get("CallSid", ""))


def receive_status(runtime: Runtime, attempt: str | None, form: Form) -> bool:
    """Find the attempt that a status callback is about, and apply it, in one transaction: most webhooks are these.

    Returns:
        Whether there is such an attempt.
    """
    with runtime.database.crossing() as session:
        ref = _find(session, attempt, form)
        if ref is None:
            return False
        set_tenant(session, ref.business_id)
        applied = _apply_status(session, runtime, ref, form)
    _follow_up(runtime, applied)
    return True


def on_status(runtime: Runtime, ref: crossing.AttemptRef, form: Form) -> Applied | None:
    """A status callback, in whatever order and however often it comes."""
    with runtime.database.tenant(ref.business_id) as session:
        applied = _apply_status(session, runtime, ref, form)
    _follow_up(runtime, applied)
    return applied


def _apply_status(session: Session, runtime: Runtime, ref: crossing.AttemptRef, form: Form) -> Applied | None:
    word = form.get("CallStatus", "")
    event = carrier_event(word)
    if event is None:
        log.warning("status callback with an unknown CallStatus", attempt_id=str(ref.id), call_status=word[:40])
        return None
    applied = apply_event(session, runtime, ref.id, event, evidence_of(form))
    if applied is not None and applied.hang_up:
        applied.attempt.hangup_requested_at = session.execute(select(db_now())).scalar_one()
    return applied


def _follow_up(runtime: Runtime, applied: Applied | None) -> None:
    """What is done behind the commit of a status callback."""
    if applied is None:
        return
    if applied.hang_up:
        _hang_up_now(runtime, applied)
    if applied.settled_now:
        log.info(
            "enqueuing next job to RQ worker",
            run_id=applied.run.id,
            job_id=applied.run.background_job_id,
            attempt_id=str(applied.attempt.id),
            state=str(applied.attempt.state),
        )


def evidence_of(form: Form) -> Evidence:
    """What a status callback tells besides the event."""
    duration = form.get("CallDuration") or form.get("Duration") or ""
    return Evidence(
        call_sid=form.get("CallSid") or None,
        carrier_status=form.get("CallStatus") or None,
        answered_by=form.get("AnsweredBy") or None,
        duration_s=int(duration) if duration.isdigit() else None,
        reason=_failure_reason(form),
    )


def _failure_reason(form: Form) -> str | None:
    if form.get("CallStatus") != "failed":
        return None
    code = form.get("ErrorCode") or form.get("SipResponseCode")
    return f"the carrier could not place the call (code {code})" if code else "the carrier could not place the call"


def on_machine_detection(runtime: Runtime, ref: crossing.AttemptRef, form: Form) -> None:
    """Who answered; hangs up on a machine where the run says so."""
    answered_by = form.get("AnsweredBy") or "unknown"
    with runtime.database.tenant(ref.business_id) as session:
        attempt = session.get_one(CallAttempt, ref.id, with_for_update={"key_share": True})
        attempt.answered_by = answered_by
        if attempt.call_sid is None:
            attempt.call_sid = form.get("CallSid") or None
        run = session.get_one(OutboundCallRun, attempt.run_id)
        machine = answered_by.startswith(("machine", "fax"))
        if run.machine_detection == "hangup" and machine and not attempt.state.settled:
            attempt.hangup_requested_at = session.execute(select(db_now())).scalar_one()
            session.flush()
            wake_pump(session, runtime, run)
    log.debug("machine detection", attempt_id=str(ref.id), answered_by=answered_by)


def on_recording(runtime: Runtime, ref: crossing.AttemptRef, form: Form) -> None:
    """A recording is ready, or there is none."""
    sid, status = form.get("RecordingSid", ""), form.get("RecordingStatus", "")
    if not sid or status not in {"completed", "absent"}:
        return
    duration = form.get("RecordingDuration", "")
    with runtime.database.tenant(ref.business_id) as session:
        attempt = session.get_one(CallAttempt, ref.id, with_for_update={"key_share": True})
        if attempt.call_sid is None:
            attempt.call_sid = form.get("CallSid") or None
        note_recording(
            session,
            runtime,
            attempt,
            recording_sid=sid,
            media_url=form.get("RecordingUrl", ""),
            duration_s=int(duration) if duration.isdigit() else None,
            absent_code=form.get("ErrorCode") or "unknown" if status == "absent" else None,
        )


def voice_response(runtime: Runtime, ref: crossing.AttemptRef) -> str:
    """The TwiML that the carrier speaks to who answered: the run's message with the lead's name."""
    with runtime.database.tenant(ref.business_id) as session:
        row = session.execute(
            select(CallAttempt.state, OutboundCallRun.message, Lead.name)
            .join(OutboundCallRun, OutboundCallRun.id == CallAttempt.run_id)
            .join(OutboundCallJob, OutboundCallJob.id == CallAttempt.job_id)
            .join(Lead, Lead.id == OutboundCallJob.lead_id, isouter=True)
            .where(CallAttempt.id == ref.id)
        ).one()
    if row.state is AttemptState.CANCELING or row.state.settled:
        # Cancelled, or given up as unknown: nobody wants this conversation any more.
        return '<?xml version="1.0" encoding="UTF-8"?><Response><Hangup/></Response>'
    message = row.message.replace("{name}", row.name or "there")
    return f'<?xml version="1.0" encoding="UTF-8"?><Response><Say>{escape(message)}</Say></Response>'


def _hang_up_now(runtime: Runtime, applied: Applied) -> None:
    """End a call that goes on though nobody wants it: from here, because every worker may be dead."""
    sid, run = applied.attempt.call_sid, applied.run
    if sid is None or hang_up(runtime, sid) or run.background_job_id is None:
        return
    # The carrier could not be reached: the pump tries again.
    runtime.transport.wake(process_next_wakeup(run.background_job_id, run.id, run.business_id))
