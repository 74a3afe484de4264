"""Questions to the carrier, a few at a time and for a few seconds: a pass must end, however slow the carrier is."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from switchboard_core import crossing
from switchboard_core.calls.carrier import CLOCKS_APART, CarrierCall, CarrierUnavailableError
from switchboard_core.calls.models import CallAttempt
from switchboard_core.crossing import AttemptRef
from switchboard_core.runtime import Runtime

BUDGET_S = 4.0
"""No question begins later than this in a pass; those that wait are asked in the next one."""
ASKERS = 4
"""Questions under way at a time: one that hangs holds up a quarter of the others."""
GIVE_UP_AFTER = 3
"""Questions in a row without an answer, after which a carrier that is away is left alone until the next pass."""

Ask = Callable[[AttemptRef], int]
Unanswered = Callable[[AttemptRef, CarrierUnavailableError], None]


def ask_about(refs: Sequence[AttemptRef], ask: Ask, unanswered: Unanswered) -> list[int]:
    """Ask about attempts, the first ones first.

    Args:
        refs: what to ask about.
        ask: asks about one, from a thread of its own; may raise ``CarrierUnavailableError``.
        unanswered: told of a question that got no answer.

    Returns:
        What ``ask`` returned for each attempt that was asked about; 0 for a question without an answer.
    """
    asking = _Pass(refs, ask, unanswered)
    # Daemons, unlike the threads of an executor: a question that hangs must not keep its process from leaving.
    askers = [
        threading.Thread(target=asking.work, name=f"asker-{number}", daemon=True)
        for number in range(min(ASKERS, len(refs)))
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    if asking.errors:
        raise asking.errors[0]
    return asking.answers


def unclaimed_call(runtime: Runtime, attempt: CallAttempt, about: datetime) -> CarrierCall | None:
    """The call at the carrier of an attempt without a sid: to its number, made about then, and no other attempt's.

    At most one unsettled attempt exists per account and number, so a call made then is this attempt's or, if another
    attempt owns its sid, none of its business. Should somebody else use the account, it is the nearest one.

    Args:
        runtime: of the process.
        attempt: that was sent, or may have been.
        about: when, by PostgreSQL's clock.

    Raises:
        CarrierUnavailableError: the carrier does not answer.
    """
    candidates = runtime.carrier.find(attempt.to_number, about - CLOCKS_APART)
    with runtime.database.crossing() as session:
        # Looked up across tenants: another business on the account may have called the same number just before.
        owners = [(call, crossing.attempt_by_sid(session, call.sid)) for call in candidates]
    unclaimed = [call for call, owner in owners if owner is None or owner.id == attempt.id]
    return min(unclaimed, key=lambda call: abs((call.created_at or about) - about), default=None)


class _Pass:
    """What the askers of a pass share."""

    def __init__(self, refs: Sequence[AttemptRef], ask: Ask, unanswered: Unanswered) -> None:
        self.answers: list[int] = []
        self.errors: list[BaseException] = []
        self._refs = iter(refs)
        self._ask, self._on_silence = ask, unanswered
        self._until = time.monotonic() + BUDGET_S
        self._lock = threading.Lock()
        self._unanswered = 0

    def work(self) -> None:
        """Ask until there is nothing left to ask, time is up, or the carrier seems to be away."""
        try:
            while (ref := self._next()) is not None:
                self.answers.append(self._answer(ref))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.errors.append(error)

    def _next(self) -> AttemptRef | None:
        with self._lock:
            if self.errors or self._unanswered >= GIVE_UP_AFTER or time.monotonic() > self._until:
                return None
            return next(self._refs, None)

    def _answer(self, ref: AttemptRef) -> int:
        try:
            answer = self._ask(ref)
        except CarrierUnavailableError as error:
            with self._lock:
                self._unanswered += 1
            self._on_silence(ref, error)
            return 0
        with self._lock:
            self._unanswered = 0
        return answer
