"""The Alembic environment of the schema; run it through ``switchboard migrate``, never through ``alembic`` itself.

Two branches. **expand** revisions (``101``, ``102``, …) only add and run before a release rolls out; **contract**
revisions (``c101``, …) remove what the release before no longer uses and run once no old pod is left. A revision that
is released is frozen: a change of mind is a new revision.
"""

from typing import NoReturn

from alembic import op

# Null without a tenant: null never equals an id, so nothing is visible and nothing can be written.
TENANT = "nullif(current_setting('app.business_id', true), '')::bigint"


class DowngradeNotSupportedError(Exception):
    """Somebody asked Alembic to go back."""


def refuse_downgrade(revision: str) -> NoReturn:
    """Every revision's ``downgrade``.

    Args:
        revision: the revision that was to be undone.

    Raises:
        DowngradeNotSupportedError: always.
    """
    msg = (
        f"Migration {revision} cannot be undone: the release before runs on the newer schema as it is, "
        "so roll back the images and leave the database alone."
    )
    raise DowngradeNotSupportedError(msg)


def protect(table: str, column: str = "business_id") -> None:
    """Let the application's role see and write only its tenant's rows of a table.

    Args:
        table: a new table of tenants.
        column: the tenant's id in it.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} USING ({column} = {TENANT}) WITH CHECK ({column} = {TENANT})")


def make_finder(signature: str, id_type: str, body: str, *, volatility: str = "VOLATILE") -> None:
    """Create a function that looks across tenants and returns ``(business_id, id)`` and nothing else.

    Who may call it is granted to the application's role by name; see ``switchboard_core.migrate.grants``.

    Args:
        signature: name and arguments, which are named unlike any column: in a query a column's name wins.
        id_type: of the second column.
        body: one SELECT.
        volatility: ``VOLATILE`` where it reads the clock or must see the latest rows, else ``STABLE``.
    """
    op.execute(
        f"CREATE FUNCTION {signature} RETURNS TABLE (business_id bigint, id {id_type}) "
        f"LANGUAGE sql {volatility} SECURITY DEFINER SET search_path = public, pg_temp AS $$ {body} $$"
    )
    op.execute(f"REVOKE ALL ON FUNCTION {signature.partition('(')[0]} FROM PUBLIC")
