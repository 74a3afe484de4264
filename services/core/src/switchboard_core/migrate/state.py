"""Which schema this release and the database have, compared without Alembic.

Alembic fails on revisions that it does not know, so a release could not start on the schema of the next one. The
database therefore keeps two numbers in ``schema_state``: ``schema_seq``, the newest expand revision that was applied,
and ``min_code_seq``, the oldest release that the contract revisions left able to run.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from switchboard_core.db import Database

CODE_SEQ = 121
"""The newest expand revision that this release brings."""

REQUIRED_SCHEMA_SEQ = 121
"""The oldest schema that the services of this release can work on."""

_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True)
class SchemaState:
    """What the database says of its schema.

    Attributes:
        schema_seq: the newest expand revision that was applied; 0 in a database that was never migrated.
        min_code_seq: the oldest code sequence that can run on it.
    """

    schema_seq: int
    min_code_seq: int


NEVER_MIGRATED = SchemaState(schema_seq=0, min_code_seq=0)


@dataclass(frozen=True)
class SchemaVerdict:
    """Whether a service can work on the database.

    Attributes:
        ok: the service may run jobs and answer requests.
        schema_seq: the schema's sequence; 0 when never migrated, None when it could not be read.
        code_seq: this release's sequence.
        sentence: for people: what is the matter and what to do.
        reachable: False when no connection could be made.
    """

    ok: bool
    schema_seq: int | None
    code_seq: int
    sentence: str
    reachable: bool = True


def read_state(connection: Connection | Session) -> SchemaState:
    """Read the two numbers with whatever role the connection has."""
    if connection.execute(text("SELECT to_regclass('public.schema_state')")).scalar() is None:
        return NEVER_MIGRATED
    row = connection.execute(text("SELECT schema_seq, min_code_seq FROM public.schema_state")).one()
    return SchemaState(schema_seq=row.schema_seq, min_code_seq=row.min_code_seq)


def incompatibility(state: SchemaState, code_seq: int) -> str | None:
    """One sentence when a release is too old for the schema, otherwise None.

    Args:
        state: the schema of the database.
        code_seq: the release's sequence.
    """
    if code_seq >= state.min_code_seq:
        return None
    return (
        f"This release (sequence {code_seq}) is too old for the database: its schema (sequence {state.schema_seq}) "
        f"supports releases from sequence {state.min_code_seq} on; run such a release, or restore a backup made before."
    )


def judge(state: SchemaState, *, code_seq: int = CODE_SEQ, required: int = REQUIRED_SCHEMA_SEQ) -> SchemaVerdict:
    """Decide whether the services of a release can work on a schema; pure.

    Args:
        state: the schema of the database.
        code_seq: the release's sequence.
        required: the oldest schema that the release can work on.
    """
    too_old = incompatibility(state, code_seq)
    if too_old:
        return SchemaVerdict(ok=False, schema_seq=state.schema_seq, code_seq=code_seq, sentence=too_old)
    if state == NEVER_MIGRATED:
        sentence = "The database has not been migrated yet: run `switchboard migrate`."
        return SchemaVerdict(ok=False, schema_seq=0, code_seq=code_seq, sentence=sentence)
    if state.schema_seq < required:
        sentence = (
            f"The database's schema (sequence {state.schema_seq}) is older than this release needs "
            f"(sequence {required}): run `switchboard migrate`."
        )
        return SchemaVerdict(ok=False, schema_seq=state.schema_seq, code_seq=code_seq, sentence=sentence)
    sentence = f"The schema (sequence {state.schema_seq}) suits this release (sequence {code_seq})."
    return SchemaVerdict(ok=True, schema_seq=state.schema_seq, code_seq=code_seq, sentence=sentence)


def check_schema(database: Database) -> SchemaVerdict:
    """Ask the database, with the application's role, whether this service can work on it.

    Also refuses a role that row-level security does not apply to: with it every tenant would see all rows.

    Args:
        database: the service's own database.

    Returns:
        The verdict; this function does not raise for anything that the database says or does.
    """
    try:
        with database.crossing() as session:
            verdict = judge(read_state(session))
            if verdict.ok and not session.execute(text("SELECT row_security_active('public.businesses')")).scalar():
                return _unknown(
                    "DATABASE_URL connects as a role that row-level security does not apply to: connect as the "
                    "application's role (APP_DATABASE_ROLE), which owns nothing and is no superuser."
                )
            return verdict
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            return _unknown(
                "The role in DATABASE_URL may not read the schema's state: run `switchboard migrate` with "
                "APP_DATABASE_ROLE set to that role."
            )
        return _unreachable(error)
    except SQLAlchemyError as error:
        return _unreachable(error)


def _unknown(sentence: str) -> SchemaVerdict:
    return SchemaVerdict(ok=False, schema_seq=None, code_seq=CODE_SEQ, sentence=sentence)


def _unreachable(error: SQLAlchemyError) -> SchemaVerdict:
    return SchemaVerdict(
        ok=False,
        schema_seq=None,
        code_seq=CODE_SEQ,
        sentence=f"The database cannot be reached ({type(error).__name__}): check that it runs and DATABASE_URL.",
        reachable=False,
    )
