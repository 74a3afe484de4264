"""The part of ``switchboard migrate`` that knows Alembic; imported only once the sequences were compared."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

import switchboard_core.migrations

Phase = Literal["expand", "contract"]

# Its INFO lines would repeat, in other words, what the runner logs of each revision.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

SCRIPT_LOCATION = Path(switchboard_core.migrations.__file__).parent


def script_directory() -> ScriptDirectory:
    """All revisions of this release."""
    return ScriptDirectory.from_config(_config())


def branch(phase: Phase) -> list[str]:
    """Revisions of a branch, oldest first."""
    scripts = script_directory().walk_revisions("base", f"{phase}@head")
    return [script.revision for script in scripts][::-1]


def pending(connection: Connection, phase: Phase, target: str | None = None) -> list[str]:
    """Revisions of a branch that the database lacks, oldest first.

    Args:
        connection: the owner's connection.
        phase: the branch.
        target: last revision wanted; None for the newest.

    Raises:
        ValueError: the branch has no such target.
    """
    revisions = branch(phase)
    applied = MigrationContext.configure(connection).get_current_heads()
    first = next((revisions.index(head) + 1 for head in applied if head in revisions), 0)
    end = revisions.index(target) + 1 if target is not None else len(revisions)
    return revisions[first:end]


def upgrade(connection: Connection, revision: str) -> None:
    """Apply one revision in a transaction of its own.

    Args:
        connection: a connection outside any transaction; each revision begins and commits its own.
        revision: the next revision of its branch.
    """
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def record_sequences(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001 - Alembic's signature
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Write what a revision means to other releases, in that revision's transaction."""
    assert ctx.connection is not None
    script = step.up_revision
    assert isinstance(script, Script)
    if script.revision.isdecimal():
        ctx.connection.execute(
            text("UPDATE schema_state SET schema_seq = greatest(schema_seq, :seq)"), {"seq": int(script.revision)}
        )
    else:
        ctx.connection.execute(
            text("UPDATE schema_state SET min_code_seq = greatest(min_code_seq, :seq)"),
            {"seq": script.module.min_code_seq},
        )


def _config() -> Config:
    config = Config()
    # Alembic interpolates like configparser, where a percent sign in a path would need doubling.
    config.set_main_option("script_location", str(SCRIPT_LOCATION).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
