"""What the carrier's webhooks mean. Each is applied in one transaction; the api acknowledges and never dials.

It does hang up, where a call goes on that nobody wants: that must work with every worker dead.
"""

import re
import uuid
from collections.abc import Mapping
from xml.sax.saxutils import escape

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.dial import hang_up
from switchboard_core.calls.express import Told, end_at_once, goes_on
from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.calls.progress import wake_pump
from switchboard_core.calls.settle import Applied, Evidence, apply_event
from switchboard_core.calls.states import AttemptState, carrier_event
from switchboard_core.jobs.transport import process_next_wakeup
from switchboard_core.leads.models import Lead
from switchboard_core.logs import get_logger
from switchboard_core.recordings.service import note_recording
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

Form = Mapping[str, str]

_BUSINESS_ID = re.compile("[0-9]{1,18}", re.ASCII)


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


def named_attempt(attempt: str | None, business: str | None) -> crossing.AttemptRef | None:
    """The attempt that the URL of a webhook names; None where it does not say whose it is, as that of an old call.

    The carrier signed the URL, and under row-level security a wrong business has no such attempt.
    """
    if attempt is None or business is None or not _BUSINESS_ID.fullmatch(business):
        return None
    try:
        return crossing.AttemptRef(int(business), uuid.UUID(attempt))
    except ValueError:
        return None


def told_in_passing(attempt: str | None, business: str | None, form: Form) -> Told | None:
    """What a status callback tells of a call that goes on; None where it may tell anything else."""
    ref, event = named_attempt(attempt, business), carrier_event(form.get("CallStatus", ""))
    if ref is None or event is None or not goes_on(event):
        return None
    return Told(ref, event, evidence_of(form))


def receive_status(runtime: Runtime, attempt: str | None, business: str | None, form: Form) -> bool:
    """Apply a status callback to the attempt that it is about.

    Args:
        runtime: of the process.
        attempt: as its URL names it.
        business: the attempt's, as its URL names it.
        form: what the carrier says.

    Returns:
        Whether there is such an attempt.
    """
    named = named_attempt(attempt, business)
    if named is not None and on_status(runtime, named, form):
        return True
    found = find_attempt(runtime, attempt, form)
    return found is not None and found != named and on_status(runtime, found, form)


def on_status(runtime: Runtime, ref: crossing.AttemptRef, form: Form) -> bool:
    """A status callback, in whatever order and however often it comes; false where there is no such attempt."""
    word = form.get("CallStatus", "")
    event = carrier_event(word)
    if event is None:
        log.warning("status callback with an unknown CallStatus", attempt_id=str(ref.id), call_status=word[:40])
        return True
    evidence = evidence_of(form)
    if ended := end_at_once(runtime, ref, event, evidence):
        _say_ended(ref, ended.run_id, ended.job_id, ended.state)
        return True
    with runtime.database.tenant(ref.business_id) as session:
        applied = apply_event(session, runtime, ref.id, event, evidence)
        if applied is not None and applied.hang_up:
            applied.attempt.hangup_requested_at = session.execute(select(db_now())).scalar_one()
    if applied is None:
        return False
    _follow_up(runtime, applied)
    return True


def _follow_up(runtime: Runtime, applied: Applied) -> None:
    """What is done behind the commit of a status callback."""
    if applied.hang_up:
        _hang_up_now(runtime, applied)
    if applied.settled_now:
        ref = crossing.AttemptRef(applied.run.business_id, applied.attempt.id)
        _say_ended(ref, applied.run.id, applied.run.background_job_id, applied.attempt.state)


def _say_ended(ref: crossing.AttemptRef, run_id: int, job_id: int | None, state: AttemptState) -> None:
    log.info("enqueuing next job to RQ worker", run_id=run_id, job_id=job_id, attempt_id=str(ref.id), state=str(state))


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
    # The carrier could not be reached: the pump asks again while the attempt is unsettled, each further
    # word of the call does so behind that, and a call that is answered hears a hang-up instead of its message.
    runtime.transport.wake(process_next_wakeup(run.background_job_id, run.id, run.business_id))
