"""Messages to many leads."""

from switchboard_core.jobs.slices import SliceFunction
from switchboard_core.runtime import Runtime


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """Every kind of job of this domain."""
    del runtime
    return {}
