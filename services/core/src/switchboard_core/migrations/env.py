"""Alembic's entry: runs revisions on the connection that ``switchboard migrate`` holds the lock with."""

from alembic import context

from switchboard_core.migrate.revisions import record_sequences

connection = context.config.attributes.get("connection")
if connection is None:
    msg = "Run migrations with `switchboard migrate`: it takes the lock, checks the release and sets the timeouts."
    raise RuntimeError(msg)

context.configure(
    connection=connection,
    transaction_per_migration=True,
    on_version_apply=record_sequences,
)
with context.begin_transaction():
    context.run_migrations()
