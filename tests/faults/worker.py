"""A worker whose ``delete_leads`` counts what it does: slow slices for kills, and single inserts for crowds of jobs.

The worker is the product's own process; the kind of job stands in for any sliced job.
"""

import time
from typing import Any

from sqlalchemy import text

from integration.kernel_support import put
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext, SliceFunction
from switchboard_core.runtime import Runtime
from switchboard_worker import main
from switchboard_worker.tasks import entry

STEP_S = 0.1

_real_tasks = entry.tasks


def _walk(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Put effect after effect until the slice's time is over; ``items`` in all, ``pause_s`` after each."""
    done, items = int(cursor["done"]) if cursor else 0, int(payload["items"])
    began = time.monotonic()
    while done < items:
        put(ctx, [done])
        done += 1
        ctx.done += 1
        ctx.session.execute(text("SELECT pg_sleep(:pause)"), {"pause": payload.get("pause_s", 0.0)})
        # Its own slices, not the kernel's budget: a killed worker has to hold a claim nearly all of the time.
        if time.monotonic() - began > payload.get("slice_s", 0.0):
            break
    return Slice(next_cursor={"done": done} if done < items else None, total=items)


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """The worker's own, with one of them replaced."""
    return {**_real_tasks(runtime), "delete_leads": _walk}


if __name__ == "__main__":
    entry.tasks = tasks
    main.main()
