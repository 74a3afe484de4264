"""The worker process of the fairness benchmark: the real one, with a job that takes as long as it is told."""

import os
import time
from typing import Any

from sqlalchemy import text

from switchboard_core.jobs.slices import Cursor, Slice, SliceContext
from switchboard_worker.main import main
from switchboard_worker.tasks.leads import TASKS

SLICE_S = float(os.environ["BENCH_SLICE_S"])


def note(ctx: SliceContext, payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
    """Work for a while, and leave a row that says when it began and whose it was."""
    began = time.time()
    time.sleep(SLICE_S)
    ctx.session.execute(
        text("INSERT INTO bench_done (business_id, asked, began) VALUES (:business, :asked, :began)"),
        {"business": ctx.business_id, "asked": payload.get("asked"), "began": began},
    )
    return Slice()


if __name__ == "__main__":
    # Stands in for one of the catalog's own kinds of job.
    TASKS["update_leads"] = note
    main()
