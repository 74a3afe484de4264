"""Stops every call of an installation, or of one business: the administrator's emergency brake."""

from switchboard_core import crossing
from switchboard_core.calls.service import pause_every_run
from switchboard_core.db import Database

REASON = "paused by `switchboard stop-calls`"


def stop_calls(database: Database, business_id: int | None = None) -> list[tuple[int, int]]:
    """Pause every run. No call is begun from the commit on, business by business; calls that live go on to their end.

    Args:
        database: of any process; services may run or not, and neither Redis nor the carrier is asked.
        business_id: of this business only; default: of all.

    Returns:
        The runs that were not paused already, as ``(business, run)``.
    """
    if business_id is None:
        with database.crossing() as session:
            business_ids = [ref.business_id for ref in crossing.businesses(session)]
    else:
        business_ids = [business_id]
    paused: list[tuple[int, int]] = []
    for each in business_ids:
        with database.tenant(each) as session:
            paused += [(each, run_id) for run_id in pause_every_run(session, reason=REASON)]
    return paused
