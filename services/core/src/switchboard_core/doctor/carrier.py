"""What has to hold between the slots and the carrier: each open attempt is a call that lives, and the other way round.

The carrier is asked for the calls that live and never for more than the slots that are open, so a look costs it little.
"""

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.carrier import CarrierCall
from switchboard_core.calls.states import CARRIER_TERMINAL
from switchboard_core.db import tenant_of
from switchboard_core.doctor.rules import Finding, Rule
from switchboard_core.runtime import Runtime

LIVE = ("queued", "ringing", "in-progress")

_OPEN = text("SELECT id, call_sid, to_number FROM call_attempts WHERE settled_at IS NULL")


class Calls:
    """The calls that live at the carrier, held against the slots of each business."""

    def __init__(self, runtime: Runtime) -> None:
        """Ask the carrier. Raises ``CarrierUnavailableError``."""
        self._runtime = runtime
        self._live: dict[str, CarrierCall] = {}
        self._awaited: set[str] = set()
        """Numbers with an open attempt whose call is not known yet: a call to them may be its."""
        self._held: set[str] = set()
        for status in LIVE:
            self._live |= {call.sid: call for call in runtime.carrier.calls(status=status)}

    def of_business(self, session: Session) -> Iterator[Finding]:
        """Slots of the session's business whose call has ended. Raises ``CarrierUnavailableError``."""
        business_id = tenant_of(session)
        for row in session.execute(_OPEN).all():
            if row.call_sid is None:
                self._awaited.add(row.to_number)
                continue
            self._held.add(row.call_sid)
            if row.call_sid in self._live:
                continue
            call = self._runtime.carrier.fetch(row.call_sid)
            if call is None or call.status in CARRIER_TERMINAL:
                said = call.status if call else "unknown"
                yield Finding(
                    Rule.SLOT_WITHOUT_CALL, business_id, f"attempt {row.id}", f"{said} at the carrier", key=row.call_sid
                )

    def of_all(self, session: Session) -> Iterator[Finding]:
        """Calls without a slot; ``session`` has no tenant. Call it behind every business."""
        for sid, call in sorted(self._live.items()):
            if sid in self._held or call.to_number in self._awaited:
                continue
            owner = crossing.attempt_by_sid(session, sid)
            detail = f"{call.status}, of attempt {owner.id}" if owner else f"{call.status}, of no row that we have"
            yield Finding(Rule.CALL_WITHOUT_SLOT, owner.business_id if owner else 0, f"call {sid}", detail, key=sid)
