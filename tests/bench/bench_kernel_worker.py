"""Our worker as the benchmark starts it: ordinary RQ jobs, and background jobs whose slice is one insert."""

import os
import threading
import time
from typing import Any

from sqlalchemy import text

from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_core.logs import configure_logging
from switchboard_core.process import work
from switchboard_core.runtime import process_runtime
from switchboard_worker.tasks import entry
from switchboard_worker.tasks.leads import TASKS


def insert_one(ctx: SliceContext, payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
    """The same insert as ``bench_jobs.durable``, in the kernel's own transaction."""
    ctx.session.execute(
        text("INSERT INTO bench_done (number, at) VALUES (:number, :at)"),
        {"number": payload["number"], "at": time.time()},
    )
    return Slice()


def main() -> None:
    """Consume the queues until SIGTERM."""
    configure_logging("ERROR")
    # The benchmark's slice stands in for one of the catalog's own kinds of job.
    TASKS["update_leads"] = insert_one
    runtime = process_runtime()
    entry.process_kernel()
    work(runtime, ["default", "maintenance"], f"bench-{os.getpid()}", threading.Event())


if __name__ == "__main__":
    main()
