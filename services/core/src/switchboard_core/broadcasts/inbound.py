"""What people write back: STOP and START count, everything else is counted and forgotten."""

from collections.abc import Mapping
from enum import StrEnum

from switchboard_core import crossing
from switchboard_core.broadcasts import opt_outs
from switchboard_core.logs import get_logger, mask_number
from switchboard_core.metrics import INBOUND_MESSAGES
from switchboard_core.outbox.states import Channel
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import record_audit

log = get_logger(__name__)

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"})
START_WORDS = frozenset({"START", "UNSTOP"})
ANSWERED_STOP = "answered STOP"


class Wish(StrEnum):
    """What a message asks for."""

    STOP = "stop"
    START = "start"
    OTHER = "other"


def wish_of(form: Mapping[str, str]) -> Wish:
    """What an inbound message asks for: the carrier's own verdict where it gives one, else the text's only word."""
    verdict = form.get("OptOutType", "").strip().upper()
    word = verdict or form.get("Body", "").strip().strip(".!\"'").upper()
    if word in STOP_WORDS:
        return Wish.STOP
    return Wish.START if word in START_WORDS else Wish.OTHER


def on_message(runtime: Runtime, form: Mapping[str, str]) -> Wish:
    """Apply an inbound SMS to every business that may have written to this person from this number."""
    wish = wish_of(form)
    INBOUND_MESSAGES.labels(wish=wish.value).inc()
    theirs, ours = form.get("From", ""), form.get("To", "")
    if wish is Wish.OTHER or not theirs or not ours:
        return wish
    with runtime.database.crossing() as session:
        refs = crossing.businesses_that_text(session, ours, theirs)
    for ref in refs:
        with runtime.database.tenant(ref.business_id) as session:
            if wish is Wish.STOP:
                opt_outs.add(session, Channel.SMS, [theirs], reason=ANSWERED_STOP)
            else:
                opt_outs.remove_address(session, Channel.SMS, theirs)
            action = "opt_outs.added" if wish is Wish.STOP else "opt_outs.removed"
            record_audit(session, actor="the person, by SMS", action=action, subject="1 number")
    log.info("opt-out by SMS", wish=wish.value, businesses=len(refs), sender=mask_number(theirs))
    return wish
