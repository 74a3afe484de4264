"""What RQ calls for a background job: one slice of it."""

import time
from functools import lru_cache

from switchboard_core.calls import campaign
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.slices import SliceFunction
from switchboard_core.metrics import SLICE_SECONDS, SLICES
from switchboard_core.runtime import Runtime, process_runtime
from switchboard_core.settings import ServiceRole
from switchboard_worker.tasks import broadcasts, ledger, mailbox, receipts
from switchboard_worker.tasks.leads import TASKS as LEAD_TASKS

BUDGET_S = 2.0
BUDGET_WHILE_OTHERS_WAIT_S = 0.2


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """Every kind of job that this worker knows."""
    return {
        "enqueue_outbound_calls": campaign.task(runtime),
        **LEAD_TASKS,
        **receipts.tasks(runtime),
        **mailbox.tasks(runtime),
        **ledger.tasks(runtime),
        **broadcasts.tasks(runtime),
    }


@lru_cache(maxsize=1)
def process_kernel() -> Kernel:
    """The kernel of this process."""
    runtime = process_runtime()
    return Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks(runtime))


def run_background_job(job_id: int) -> Outcome:
    """Run one slice of a background job; the wake-up's only argument is the row's id."""
    runtime = process_runtime()
    others_wait = bool(runtime.transport.waiting(runtime.settings.queues_for(ServiceRole.WORKER)))
    started = time.monotonic()
    outcome = process_kernel().run_slice(job_id, budget_s=BUDGET_WHILE_OTHERS_WAIT_S if others_wait else BUDGET_S)
    SLICES.labels(job_type="background", outcome=outcome.name.lower()).inc()
    SLICE_SECONDS.labels(job_type="background").observe(time.monotonic() - started)
    return outcome
