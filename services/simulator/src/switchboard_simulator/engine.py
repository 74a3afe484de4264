"""The life of calls: a state machine driven by timers, without input or output of its own.

What it needs of the world comes in through two ports: a ``Clock`` and ``Effects``. So the same code runs behind a
server in real time and in tests on a virtual clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import uuid4

from switchboard_simulator import callbacks, errors
from switchboard_simulator.activity import Activity
from switchboard_simulator.callbacks import Webhook
from switchboard_simulator.calls import (
    TERMINAL,
    Call,
    CallRequest,
    CallStatus,
    Recording,
    RecordingStatus,
)
from switchboard_simulator.clock import Clock, Timer
from switchboard_simulator.errors import TwilioError
from switchboard_simulator.ledger import Ledger
from switchboard_simulator.outcomes import OutcomeBook, OutcomeKind, Plan
from switchboard_simulator.pacer import Pacer
from switchboard_simulator.register import Register
from switchboard_simulator.twiml import Conduct, read

LONGEST_QUEUE_SECONDS = 24 * 3600.0
MEDIA_PATH = "2010-04-01/Accounts/{account}/Recordings/{sid}"

_REJECTIONS = {
    errors.INVALID_TO: "The 'To' number is not a valid phone number.",
    errors.INVALID_FROM: "The 'From' number is not a valid phone number.",
    21214: "'To' phone number cannot be reached.",
    21217: "Phone number does not appear to be valid.",
    13224: "The called phone number is not routable.",
}


class Effects(Protocol):
    """What the engine has done to the world outside."""

    def notify(self, webhook: Webhook) -> None:
        """Send a callback and forget about it."""

    def fetch(self, webhook: Webhook, arrived: Callable[[str | None], None]) -> None:
        """Ask the customer's server for TwiML and hand over the document, or nothing if it gave none."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Times (seconds) and rates that hold for all calls.

    Attributes:
        per_second: calls started a second and account.
        dial: from the start of a call to its ringing, or to its failure.
        detection: how long machine detection listens.
    """

    per_second: float
    dial: float
    detection: float


class Engine:
    """All calls of the simulated carrier.

    Args:
        clock: the time.
        effects: where callbacks go and TwiML comes from.
        book: what callees do.
        ledger: told about every call.
        activity: told about everything that begins and ends.
        pace: times and rates.
    """

    def __init__(
        self, *, clock: Clock, effects: Effects, book: OutcomeBook, ledger: Ledger, activity: Activity, pace: Pace
    ) -> None:
        self.register = Register()
        self._clock = clock
        self._effects = effects
        self._book = book
        self._ledger = ledger
        self._activity = activity
        self._pace = pace
        self._pacers: dict[str, Pacer] = {}
        self._pump_timers: dict[str, Timer] = {}
        self._timers: dict[str, Timer] = {}
        self._stopped = False

    @property
    def queued(self) -> int:
        """Calls that wait for their turn."""
        return sum(len(pacer) for pacer in self._pacers.values())

    def stop(self) -> None:
        """Forget every timer: no call moves after this."""
        self._stopped = True
        for timer in (*self._timers.values(), *self._pump_timers.values()):
            timer.cancel()

    def create(self, account_sid: str, request: CallRequest, api_base: str) -> Call:
        """Accept a call; it is live from now on.

        Raises:
            TwilioError: a script rejects this number.
        """
        plan = self._book.plan(request.to)
        if plan.kind is OutcomeKind.REJECT:
            code = plan.error_code or errors.INVALID_TO
            raise TwilioError(400, code, _REJECTIONS.get(code, "The call was rejected."))
        call = Call(
            account_sid=account_sid,
            index=len(self.register),
            api_base=api_base,
            request=request,
            plan=plan,
            created_at=self._clock.time(),
        )
        self.register.add(call)
        self._ledger.call_accepted(call)
        self._activity.begin()
        self._pacer(account_sid).join(call.sid, call.created_at)
        # The answer shows the call queued, as the carrier's does: it starts on the next turn at the earliest.
        self._after(0.0, account_sid, partial(self._pump, account_sid), self._pump_timers)
        return call

    def hang_up(self, call: Call, wanted: CallStatus) -> None:
        """End a call because the customer asked for it.

        Args:
            call: the call.
            wanted: ``canceled`` leaves a conversation alone, ``completed`` ends that too.

        Raises:
            TwilioError: the call has already ended (21220).
        """
        if not call.live:
            raise TwilioError(400, errors.NOT_IN_PROGRESS, "Call is not in-progress. Cannot redirect.")
        if call.status is CallStatus.IN_PROGRESS:
            if wanted is CallStatus.COMPLETED:
                self._move(call, CallStatus.COMPLETED)
            return
        self._pacer(call.account_sid).leave(call.sid)
        self._move(call, CallStatus.CANCELED)

    def _pacer(self, account_sid: str) -> Pacer:
        if account_sid not in self._pacers:
            self._pacers[account_sid] = Pacer(self._pace.per_second, LONGEST_QUEUE_SECONDS)
        return self._pacers[account_sid]

    def _after(self, seconds: float, key: str, action: Callable[[], None], timers: dict[str, Timer]) -> None:
        """Set the one timer that a call or an account has."""
        if self._stopped:
            return
        if (pending := timers.pop(key, None)) is not None:
            pending.cancel()
        timers[key] = self._clock.call_later(seconds, action)

    def _next(self, call: Call, seconds: float, step: Callable[[Call], None]) -> None:
        self._after(seconds, call.sid, partial(step, call), self._timers)

    def _pump(self, account_sid: str) -> None:
        """Start the calls whose turn it is and come back when it is somebody else's."""
        pacer, now = self._pacer(account_sid), self._clock.time()
        self._pump_timers.pop(account_sid, None)
        for sid in pacer.expired(now):
            if (call := self.register.call(account_sid, sid)) is not None:
                call.error_code = errors.QUEUED_TOO_LONG
                self._move(call, CallStatus.FAILED)
        for sid in pacer.started(now):
            if (call := self.register.call(account_sid, sid)) is not None:
                self._move(call, CallStatus.INITIATED)
                self._next(call, self._pace.dial, self._dialled)
        if (at := pacer.next_event()) is not None:
            self._after(at - now, account_sid, partial(self._pump, account_sid), self._pump_timers)

    def _dialled(self, call: Call) -> None:
        plan = call.plan
        if plan.kind is OutcomeKind.FAIL:
            call.error_code = plan.error_code
            self._move(call, CallStatus.FAILED)
            return
        self._move(call, CallStatus.RINGING)
        if plan.ring >= call.request.timeout and plan.kind is not OutcomeKind.BUSY:
            self._next(call, call.request.timeout, partial(self._move, status=CallStatus.NO_ANSWER))
        else:
            self._next(call, plan.ring, self._picked_up)

    def _picked_up(self, call: Call) -> None:
        match call.plan.kind:
            case OutcomeKind.BUSY:
                self._move(call, CallStatus.BUSY)
            case OutcomeKind.NO_ANSWER:
                self._move(call, CallStatus.NO_ANSWER)
            case _:
                self._answered(call)

    def _answered(self, call: Call) -> None:
        self._move(call, CallStatus.IN_PROGRESS)
        if call.request.record:
            self._start_recording(call)
        if call.request.machine_detection is None:
            self._ask_for_twiml(call)
        elif call.request.async_amd:
            self._activity.begin()
            self._clock.call_later(self._pace.detection, partial(self._detected, call))
            self._ask_for_twiml(call)
        else:
            self._next(call, self._pace.detection, self._detected_before_twiml)

    def _detected(self, call: Call) -> None:
        """Report asynchronous detection, unless the call ended first: then there was nothing to listen to."""
        if call.live and not self._stopped:
            call.answered_by = callbacks.detected(call)
            self._notify(callbacks.amd_callback(call, self._pace.detection))
        self._activity.end()

    def _detected_before_twiml(self, call: Call) -> None:
        call.answered_by = callbacks.detected(call)
        self._ask_for_twiml(call)

    def _ask_for_twiml(self, call: Call) -> None:
        request = call.request
        if request.url is None:
            self._follow(call, request.twiml)
            return
        webhook = callbacks.voice_request(call, request.url, request.method)
        self._effects.fetch(webhook, partial(self._twiml_arrived, call))

    def _twiml_arrived(self, call: Call, document: str | None) -> None:
        if self._stopped or not call.live:
            return
        fallback = call.request.fallback_url
        if fallback is not None and (document is None or read(document) is Conduct.INVALID):
            webhook = callbacks.voice_request(call, fallback, call.request.fallback_method)
            self._effects.fetch(webhook, partial(self._follow, call))
            return
        self._follow(call, document)

    def _follow(self, call: Call, document: str | None) -> None:
        """Let the conversation take its time, or end it where the TwiML does."""
        if self._stopped or not call.live:
            return
        goes_on = document is not None and read(document) is Conduct.GOES_ON
        talk = min(call.plan.talk, call.request.time_limit) if goes_on else 0.0
        self._next(call, talk, partial(self._move, status=CallStatus.COMPLETED))

    def _move(self, call: Call, status: CallStatus) -> None:
        now, before = self._clock.time(), call.status
        call.move(status, now)
        self._ledger.call_moved(call, before)
        if status in TERMINAL:
            if (timer := self._timers.pop(call.sid, None)) is not None:
                timer.cancel()
            self._finish_recording(call)
        self._notify(callbacks.status_callback(call, now))
        if status in TERMINAL:
            self._activity.end()

    def _notify(self, webhook: Webhook | None) -> None:
        if webhook is not None:
            self._effects.notify(webhook)

    def _start_recording(self, call: Call) -> None:
        now, sid = self._clock.time(), f"RE{uuid4().hex}"
        path = MEDIA_PATH.format(account=call.account_sid, sid=sid)
        call.recording = Recording(
            sid=sid,
            account_sid=call.account_sid,
            call_sid=call.sid,
            url=f"{call.api_base}/{path}",
            clip=call.plan.clip,
            track=call.request.recording_track,
            started_at=now,
            updated_at=now,
        )
        self.register.add_recording(call.recording)
        self._notify(callbacks.recording_callback(call, call.recording))

    def _finish_recording(self, call: Call) -> None:
        if call.recording is None:
            return
        call.recording.status = RecordingStatus.PROCESSING
        call.recording.updated_at = self._clock.time()
        self._activity.begin()
        self._clock.call_later(call.plan.recording_delay, partial(self._recorded, call, call.recording))

    def _recorded(self, call: Call, recording: Recording) -> None:
        if not self._stopped:
            _settle_recording(recording, call.plan, self._clock.time())
            self._ledger.recordings[recording.status.value] += 1
            self._notify(callbacks.recording_callback(call, recording))
        self._activity.end()


def _settle_recording(recording: Recording, plan: Plan, now: float) -> None:
    recording.updated_at = now
    if plan.absent is None:
        recording.status = RecordingStatus.COMPLETED
        recording.media_from = now + plan.media_delay
        return
    recording.status = RecordingStatus.ABSENT
    too_short = plan.absent == "too_short"
    recording.error_code = errors.RECORDING_TOO_SHORT if too_short else errors.RECORDING_SILENT
