"""What the application's role may do: given after every run, so that a new table or a new role needs no extra step."""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from switchboard_core.logs import get_logger
from switchboard_core.migrate.errors import AppRoleUnsuitable

_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")

TABLE_PRIVILEGES: dict[str, tuple[str, ...]] = {
    "alembic_version": (),
    "audit_events": ("SELECT", "INSERT"),  # what happened cannot be edited by who did it
    "businesses": ("SELECT", "INSERT", "UPDATE"),
    "carrier_accounts": ("SELECT", "INSERT", "UPDATE"),
    "maintenance_marks": (),  # written by claim_startup_cleanup()
    "schema_state": ("SELECT",),
}
"""Tables with other privileges than reading and writing rows, which is what a table gets that is not listed."""

_DUPLICATE_ROLE = frozenset({"42710", "23505"})

log = get_logger(__name__)


def ensure_app_role(connection: Connection, role: str) -> None:
    """Make sure that the application's role exists and that row-level security applies to it.

    A missing role is made (``NOLOGIN``, so that nobody gets in without a password) where the owner may do that.

    Args:
        connection: the owner's connection, autocommit.
        role: name of the application's role.

    Raises:
        AppRoleUnsuitable: it is missing and cannot be made, or its rights switch row-level security off.
    """
    if not _exists(connection, role):
        _create(connection, role)
    row = connection.execute(
        text("""
            SELECT app.rolsuper, app.rolbypassrls, pg_has_role(app.oid, current_user, 'MEMBER') AS owner
            FROM pg_roles app WHERE app.rolname = :role
        """),
        {"role": role},
    ).one()
    if row.rolsuper or row.rolbypassrls or row.owner:
        trouble = "is a superuser" if row.rolsuper else "has BYPASSRLS" if row.rolbypassrls else "is the owner's own"
        msg = (
            f"The application's role {role} {trouble}, so row-level security would not keep tenants apart: "
            "set APP_DATABASE_ROLE, and DATABASE_URL, to a role of its own without such rights."
        )
        raise AppRoleUnsuitable(msg)


def grant_access(connection: Connection, role: str) -> None:
    """Give the application's role what it lacks; changes nothing that is already there.

    Args:
        connection: the owner's connection, autocommit.
        role: name of the application's role, which exists.
    """
    statements = [*_schema_grants(connection, role), *_table_grants(connection, role), *_other_grants(connection, role)]
    for statement in statements:
        connection.exec_driver_sql(statement)
    if statements:
        log.info("Granted access to the application's role", role=role, statements=len(statements))


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _exists(connection: Connection, role: str) -> bool:
    found = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first()
    return found is not None


def _create(connection: Connection, role: str) -> None:
    quoted = _quoted(connection, role)
    may_create = connection.execute(
        text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    ).scalar()
    if not may_create:
        msg = (
            f"The application's role {role} does not exist and this role may not create it: as an administrator run "
            f"`CREATE ROLE {quoted} LOGIN PASSWORD '…'`, or set APP_DATABASE_ROLE to the role of DATABASE_URL."
        )
        raise AppRoleUnsuitable(msg)
    try:
        connection.exec_driver_sql(f"CREATE ROLE {quoted} NOLOGIN")
    except DBAPIError as error:
        # Roles belong to the whole cluster: the migrator of another database may have been quicker.
        if getattr(error.orig, "sqlstate", None) not in _DUPLICATE_ROLE:
            raise
    else:
        log.warning(
            "Created the application's role without login",
            role=role,
            to_let_it_in=f"ALTER ROLE {quoted} LOGIN PASSWORD '…'",
        )


def _schema_grants(connection: Connection, role: str) -> list[str]:
    if connection.execute(text("SELECT has_schema_privilege(:role, 'public', 'USAGE')"), {"role": role}).scalar():
        return []
    return [f"GRANT USAGE ON SCHEMA public TO {_quoted(connection, role)}"]


def _table_grants(connection: Connection, role: str) -> list[str]:
    tables = connection.execute(
        text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')")
    ).scalars()
    wanted = [(table, privilege) for table in tables for privilege in TABLE_PRIVILEGES.get(table, _ALL)]
    missing = [
        (table, privilege)
        for table, privilege in wanted
        if not connection.execute(
            text("SELECT has_table_privilege(:role, 'public.' || quote_ident(:name), :privilege)"),
            {"role": role, "name": table, "privilege": privilege},
        ).scalar()
    ]
    grantee = _quoted(connection, role)
    return [
        f"GRANT {privilege} ON TABLE public.{_quoted(connection, table)} TO {grantee}" for table, privilege in missing
    ]


def _other_grants(connection: Connection, role: str) -> list[str]:
    """Sequences, and the functions that look across tenants: the owner's, so none of an extension."""
    rows = connection.execute(
        text("""
            SELECT 'USAGE, SELECT ON SEQUENCE ' || s.seqrelid::regclass
            FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
            WHERE c.relnamespace = 'public'::regnamespace AND NOT has_sequence_privilege(:role, s.seqrelid, 'USAGE')
            UNION ALL
            SELECT 'EXECUTE ON FUNCTION ' || p.oid::regprocedure
            FROM pg_proc p
            WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
              AND p.proowner = current_user::regrole
              AND NOT has_function_privilege(:role, p.oid, 'EXECUTE')
        """),
        {"role": role},
    ).scalars()
    return [f"GRANT {privilege} TO {_quoted(connection, role)}" for privilege in rows]
