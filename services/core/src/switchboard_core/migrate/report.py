"""What a run of ``switchboard migrate`` did."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Phase = Literal["expand", "contract"]


class MigrationReport(BaseModel):
    """What a run did, as ``--json`` prints it.

    Attributes:
        phase: the branch that was run.
        check: nothing was to be changed.
        from_seq: the schema's sequence before; 0 in a database that was never migrated.
        to_seq: the schema's sequence after.
        code_seq: this release's sequence.
        applied: revisions applied by this run, in order.
        pending: revisions that a check found missing, in order.
        skipped: nothing was left to apply.
        reason: for people: why nothing was applied, or what a check found; empty otherwise.
        duration_s: seconds from start to end.
        ok: the schema is as this phase wants it; a check that finds pending revisions is not ok.
    """

    model_config = ConfigDict(frozen=True)

    phase: Phase
    check: bool = False
    from_seq: int
    to_seq: int
    code_seq: int
    applied: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    skipped: bool = False
    reason: str = ""
    duration_s: float
    ok: bool = True
