"""What RQ calls to place calls."""

from switchboard_core.calls.pump import process_next
from switchboard_core.jobs.kernel import Outcome
from switchboard_core.runtime import process_runtime


def process_next_queued_job(job_id: int, run_id: int) -> Outcome:
    """Admit and dial calls of a run's business until nothing is admissible or two seconds are over.

    Args:
        job_id: the run's ``enqueue_outbound_calls`` background job; the RQ id is ``process_next_{job_id}``.
        run_id: the run.
    """
    return Outcome.AGAIN if process_next(process_runtime(), job_id, run_id) else Outcome.FINISHED
