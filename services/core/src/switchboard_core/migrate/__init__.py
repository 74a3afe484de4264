"""Schema changes: ``switchboard migrate`` and what services ask of the schema before they start."""

from switchboard_core.migrate.errors import (
    AppRoleUnsuitable,
    DatabaseUnreachable,
    IncompatibleSchema,
    MigrationError,
    MigrationFailed,
    MigrationLockNotObtained,
)
from switchboard_core.migrate.report import MigrationReport
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.migrate.state import (
    CODE_SEQ,
    REQUIRED_SCHEMA_SEQ,
    SchemaState,
    SchemaVerdict,
    check_schema,
    read_state,
)

__all__ = [
    "CODE_SEQ",
    "REQUIRED_SCHEMA_SEQ",
    "AppRoleUnsuitable",
    "DatabaseUnreachable",
    "IncompatibleSchema",
    "MigrationError",
    "MigrationFailed",
    "MigrationLockNotObtained",
    "MigrationReport",
    "SchemaState",
    "SchemaVerdict",
    "check_schema",
    "read_state",
    "run_migrations",
]
