"""The worker process itself, with one task that tests can hold still; started by ``integration.worker_support``."""

import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from integration.kernel_support import put
from switchboard_core.jobs.slices import Cursor, Slice, SliceContext, SliceFunction
from switchboard_core.runtime import Runtime
from switchboard_worker import main
from switchboard_worker.tasks import entry

_real_tasks = entry.tasks


def gated(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Put ``items`` effects, one a slice.

    Before each slice's end it waits until the file ``gate`` has at least as many bytes as slices were begun, or says
    ``error`` in it. Meanwhile it works in the database, as a real slice does.
    """
    done = int(cursor["done"]) if cursor else 0
    put(ctx, [done])
    gate = Path(payload["gate"])
    gate.with_suffix(".entered").write_text(str(done))
    while len(passes := gate.read_text()) <= done:
        ctx.session.execute(text("SELECT pg_sleep(0.02)"))
    if "error" in passes:
        raise RuntimeError("the gate says so")
    ctx.done += 1
    return Slice(next_cursor={"done": done + 1} if done + 1 < payload["items"] else None, total=payload["items"])


def stubborn(_ctx: SliceContext, payload: dict[str, Any], _cursor: Cursor | None) -> Slice:
    """Never come back."""
    gate = Path(payload["stubborn"])
    gate.with_suffix(".entered").touch()
    while not gate.exists():
        time.sleep(0.02)
    return Slice()


def _delete_leads(ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    if "gate" in payload:
        return gated(ctx, payload, cursor)
    if "stubborn" in payload:
        return stubborn(ctx, payload, cursor)
    return _real_tasks_by_name["delete_leads"](ctx, payload, cursor)


_real_tasks_by_name: dict[str, SliceFunction] = {}


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """The worker's own tasks, with the gate in front of ``delete_leads``."""
    _real_tasks_by_name.update(_real_tasks(runtime))
    return {**_real_tasks_by_name, "delete_leads": _delete_leads}


# What ordinary RQ jobs call.


def double(number: int) -> int:
    """A plain function."""
    return 2 * number


def fail() -> None:
    """A plain function that raises."""
    raise RuntimeError("an ordinary failure")


def nap(seconds: float) -> None:
    """A plain function that takes a while."""
    time.sleep(seconds)


def wait_for(path: str) -> str:
    """A plain function that takes as long as the test wants."""
    Path(path).with_suffix(".entered").touch()
    while not Path(path).exists():
        time.sleep(0.02)
    return "waited"


if __name__ == "__main__":
    entry.tasks = tasks
    main.main()
