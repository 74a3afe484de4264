"""The clean-up of a starting api: once across replicas, and not twice within a minute."""

import time

from switchboard_core import crossing
from switchboard_core.calls.cleanup import (
    cleanup_stuck_dialing_jobs,
    cleanup_stuck_runs,
    rebuild_all_slots,
    worker_lives,
)
from switchboard_core.calls.schemas import CleanupReport
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.settings import ServiceRole

log = get_logger(__name__)

NOT_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.5


class StartupCleanup:
    """The clean-up of one process's start.

    It is claimed before it begins, which keeps the other replicas away for a minute. So where the database or Redis
    breaks it off, it is for this process to run it again: nobody else will.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._claimed = False

    def run(self) -> CleanupReport | None:
        """Clean up; what was broken off is begun again.

        Returns:
            What it did; None where this process is no api, or another one has just begun it.

        Raises:
            SQLAlchemyError: the database broke it off.
        """
        if self._runtime.settings.service_role is not ServiceRole.API:
            return None
        if not self._claimed:
            with self._runtime.database.crossing() as session:
                self._claimed = crossing.claim_startup_cleanup(session, NOT_WITHIN_S)
        if not self._claimed:
            log.info("startup cleanup skipped: a replica has begun it within the last minute")
            return None
        return _clean_up(self._runtime)


def _clean_up(runtime: Runtime) -> CleanupReport:
    with runtime.database.crossing() as session:
        businesses = [ref.business_id for ref in crossing.businesses(session)]
    log.info("[STARTUP] Running outbound cleanup", businesses=len(businesses))
    calls = cleanup_stuck_dialing_jobs(runtime)
    _await_worker(runtime)
    runs = cleanup_stuck_runs(runtime, on_startup=True)
    report = calls.model_copy(
        update={
            "runs_taken_over": runs.runs_taken_over,
            "runs_failed": runs.runs_failed,
            "slots": rebuild_all_slots(runtime, businesses),
        }
    )
    log.info("[STARTUP] Outbound cleanup complete", **report.model_dump())
    return report


def _await_worker(runtime: Runtime) -> None:
    """Wait for a sign of life of a worker, for as long as a living one needs to give one.

    After an outage everything is started at once, and the rows still say that nobody has been alive for long. Runs
    that a worker is about to take up must not be failed for that.
    """
    settings = runtime.settings
    until = time.monotonic() + settings.heartbeat_interval_seconds
    while True:
        with runtime.database.crossing() as session:
            if not crossing.open_runs(session) or worker_lives(session, settings.dead_worker_after_seconds):
                return
        if (left_s := until - time.monotonic()) <= 0:
            return
        time.sleep(min(_LOOK_EVERY_S, left_s))
