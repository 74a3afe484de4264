"""All tables of the first release."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from switchboard_core.migrations import refuse_downgrade

revision = "101"
down_revision = None
branch_labels = ("expand",)
depends_on = None

OPEN_JOB = sa.text("status IN ('pending', 'running')")
NOT_DELETED = sa.text("deleted_at IS NULL")
UNSETTLED = sa.text("settled_at IS NULL")


def upgrade() -> None:
    _bookkeeping()
    _businesses()
    _shared_between_tenants()
    _tenancy()
    _background_jobs()
    _leads()
    _lead_imports()
    _outbound_call_runs()
    _outbound_call_jobs()
    _call_attempts()
    _recordings()


def downgrade() -> None:
    refuse_downgrade(revision)


def _id() -> "sa.Column[int]":
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False)


def _text(name: str, length: int | None = None, *, default: str | None = None, null: bool = False) -> "sa.Column[str]":
    kind = sa.String(length) if length else sa.Text()
    return sa.Column(name, kind, server_default=default, nullable=null)


def _int(name: str, *, default: str | None = None, null: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), server_default=default, nullable=null)


def _real(name: str, *, default: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Double(), server_default=default, nullable=False)


def _json(name: str, *, default: str | None = None, null: bool = False) -> "sa.Column[Any]":
    value = sa.text(f"'{default}'::jsonb") if default else None
    return sa.Column(name, postgresql.JSONB(), server_default=value, nullable=null)


def _at(name: str, *, default: str | None = None) -> "sa.Column[Any]":
    """A moment; without a default it is null until it happened."""
    value = sa.text(default) if default else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=value, nullable=default is None)


def _time(name: str, *, default: str | None = None) -> "sa.Column[Any]":
    return sa.Column(name, sa.Time(), server_default=default, nullable=False)


def _bytes(name: str) -> "sa.Column[bytes]":
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _pk(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _fk(table: str, column: str, target: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}_{target}"), ondelete=ondelete
    )


def _of_business(table: str) -> sa.ForeignKeyConstraint:
    return _fk(table, "business_id", "businesses", "CASCADE")


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def _check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"chk_{name}"))


def _index(table: str, *columns: str, name: str | None = None, **options: Any) -> None:  # noqa: ANN401 - Alembic's own
    op.create_index(op.f(name or f"ix_{table}_{'_'.join(columns)}"), table, list(columns), **options)


def _bookkeeping() -> None:
    """What ``switchboard migrate`` and the maintenance functions remember."""
    op.create_table(
        "schema_state",
        sa.Column("only", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("schema_seq", sa.Integer(), nullable=False),
        sa.Column("min_code_seq", sa.Integer(), nullable=False),
        _pk("schema_state", "only"),
        _check("schema_state_only_one_row", "only"),
    )
    op.execute("INSERT INTO schema_state (schema_seq, min_code_seq) VALUES (101, 101)")
    op.create_table(
        "maintenance_marks", _text("name"), _at("at", default="clock_timestamp()"), _pk("maintenance_marks", "name")
    )


def _businesses() -> None:
    op.create_table(
        "businesses",
        _id(),
        _text("name", 200),
        _text("timezone", 64, default="UTC"),
        _int("call_cap", default="3"),
        _real("calls_per_second", default="1"),
        _json("caller_ids", default="[]"),
        _time("calling_from", default="09:00"),
        _time("calling_until", default="20:00"),
        _int("calling_days", default="127"),
        _real("rate_tokens", default="0"),
        _at("rate_refilled_at", default="now()"),
        _int("breaker_failures", default="0"),
        _at("breaker_open_until"),
        _at("next_wake_at"),
        _at("created_at", default="now()"),
        _check("businesses_call_cap", "call_cap BETWEEN 0 AND 1000"),
        _check("businesses_calls_per_second", "calls_per_second > 0"),
        _pk("businesses", "id"),
    )


def _shared_between_tenants() -> None:
    """Neither holds anything of a tenant."""
    op.create_table(
        "carrier_accounts",
        _text("account_sid", 64),
        _real("rate_tokens", default="0"),
        _at("rate_refilled_at", default="now()"),
        _pk("carrier_accounts", "account_sid"),
    )
    op.create_table(
        "worker_heartbeats",
        _text("name", 200),
        _text("role", 16),
        _json("queues"),
        _at("started_at", default="now()"),
        _at("seen_at", default="now()"),
        _pk("worker_heartbeats", "name"),
    )


def _tenancy() -> None:
    op.create_table(
        "api_keys",
        _id(),
        _int("business_id"),
        _text("name", 200),
        _text("role", 16),
        _text("prefix", 16),
        _bytes("key_hash"),
        _at("created_at", default="now()"),
        _at("expires_at"),
        _at("revoked_at"),
        _of_business("api_keys"),
        _pk("api_keys", "id"),
        _unique("api_keys", "key_hash"),
    )
    _index("api_keys", "business_id")
    op.create_table(
        "audit_events",
        _id(),
        _int("business_id"),
        _text("actor", 200),
        _text("action", 100),
        _text("subject", 200),
        _json("detail", default="{}"),
        _at("created_at", default="now()"),
        _of_business("audit_events"),
        _pk("audit_events", "id"),
    )
    _index("audit_events", "business_id", "id")
    op.create_table(
        "idempotency_keys",
        _id(),
        _int("business_id"),
        _text("route", 200),
        _text("key", 255),
        _bytes("body_hash"),
        _int("response_status", null=True),
        _json("response", null=True),
        _at("created_at", default="now()"),
        _of_business("idempotency_keys"),
        _pk("idempotency_keys", "id"),
        _unique("idempotency_keys", "business_id", "route", "key"),
    )
    _index("idempotency_keys", "created_at")


def _background_jobs() -> None:
    table = "background_jobs"
    op.create_table(
        table,
        _id(),
        _int("business_id"),
        _text("job_type", 64),
        _text("queue", 32),
        _text("status", 16, default="pending"),
        _json("payload", default="{}"),
        _int("payload_version", default="1"),
        _json("cursor", null=True),
        _int("total", null=True),
        _int("done", default="0"),
        _int("failed", default="0"),
        _json("errors", default="[]"),
        _json("result", null=True),
        _text("reason", null=True),
        _int("attempt", default="0"),
        _int("crash_count", default="0"),
        _at("admitted_at"),
        _at("run_after", default="now()"),
        _at("lease_until"),
        _at("cancel_requested_at"),
        _text("dedupe_key", 255, null=True),
        _int("version", default="1"),
        _at("created_at", default="now()"),
        _at("started_at"),
        _at("heartbeat_at"),
        _at("finished_at"),
        _check("background_jobs_status", "status IN ('pending', 'running', 'completed', 'failed', 'cancelled')"),
        _of_business(table),
        _pk(table, "id"),
    )
    _index(table, "business_id", "id")
    _index(table, "run_after", name="ix_background_jobs_due", postgresql_where=OPEN_JOB)
    _index(table, "business_id", "queue", "id", name="ix_background_jobs_open", postgresql_where=OPEN_JOB)
    _index(
        table,
        "business_id",
        "dedupe_key",
        name="uq_background_jobs_dedupe_key",
        unique=True,
        postgresql_where=OPEN_JOB,
    )


def _lead_imports() -> None:
    op.create_table(
        "lead_import_errors",
        _id(),
        _int("business_id"),
        _int("import_id"),
        _int("line"),
        _text("column", 100, null=True),
        _text("message"),
        _of_business("lead_import_errors"),
        _fk("lead_import_errors", "import_id", "lead_imports", "CASCADE"),
        _pk("lead_import_errors", "id"),
    )
    _index("lead_import_errors", "business_id", "import_id", "line")


def _leads() -> None:
    op.create_table(
        "do_not_call",
        _int("business_id"),
        _bytes("phone_hash"),
        _text("reason", 200, default="requested"),
        _at("created_at", default="now()"),
        _of_business("do_not_call"),
        _pk("do_not_call", "business_id", "phone_hash"),
    )
    op.create_table(
        "lead_imports",
        _id(),
        _int("business_id"),
        _text("filename", 255),
        _int("total", default="0"),
        _int("created", default="0"),
        _int("updated", default="0"),
        _int("duplicates", default="0"),
        _int("rejected", default="0"),
        _int("do_not_call", default="0"),
        _at("created_at", default="now()"),
        _of_business("lead_imports"),
        _pk("lead_imports", "id"),
    )
    _index("lead_imports", "business_id")
    op.create_table(
        "leads",
        _id(),
        _int("business_id"),
        _text("phone", 20),
        _text("name", 200, null=True),
        _text("email", 320, null=True),
        _text("timezone", 64),
        _json("tags", default="[]"),
        _json("attributes", default="{}"),
        _int("import_id", null=True),
        _at("created_at", default="now()"),
        _at("updated_at", default="now()"),
        _at("deleted_at"),
        _of_business("leads"),
        _fk("leads", "import_id", "lead_imports", "SET NULL"),
        _pk("leads", "id"),
    )
    _index("leads", "business_id", "id")
    _index("leads", "business_id", "import_id")
    _index(
        "leads", "business_id", "phone", name="uq_leads_business_id_phone", unique=True, postgresql_where=NOT_DELETED
    )


def _outbound_call_runs() -> None:
    table = "outbound_call_runs"
    op.create_table(
        table,
        _id(),
        _int("business_id"),
        _text("name", 200),
        _text("status", 16, default="pending"),
        _text("reason", null=True),
        _int("background_job_id", null=True),
        _text("message"),
        sa.Column("record", sa.Boolean(), server_default=sa.true(), nullable=False),
        _text("machine_detection", 16, default="off"),
        _int("ring_timeout_s", default="30"),
        _int("max_attempts", default="3"),
        _json("retry_after_s", default="{}"),
        _json("caller_ids", default="[]"),
        _time("calling_from"),
        _time("calling_until"),
        _int("calling_days"),
        _at("expanded_at"),
        _at("last_admitted_at"),
        _at("heartbeat_at", default="now()"),
        _at("created_at", default="now()"),
        _at("started_at"),
        _at("finished_at"),
        _check(
            "outbound_call_runs_status",
            "status IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')",
        ),
        _fk(table, "background_job_id", "background_jobs", "SET NULL"),
        _of_business(table),
        _pk(table, "id"),
    )
    _index(table, "business_id", "id")
    _index(
        table,
        "business_id",
        "last_admitted_at",
        name="ix_outbound_call_runs_open",
        postgresql_where=sa.text("status IN ('pending', 'running', 'paused')"),
    )


def _outbound_call_jobs() -> None:
    table = "outbound_call_jobs"
    op.create_table(
        table,
        _id(),
        _int("business_id"),
        _int("run_id"),
        _int("lead_id", null=True),
        _text("to_number", 20),
        _text("timezone", 64),
        _text("status", 16, default="queued"),
        _text("reason", null=True),
        _int("attempts", default="0"),
        _int("setbacks", default="0"),
        _at("next_attempt_at", default="now()"),
        _at("created_at", default="now()"),
        _at("updated_at", default="now()"),
        _at("finished_at"),
        _check(
            "outbound_call_jobs_status",
            "status IN ('queued', 'dialing', 'uncertain', 'ringing', 'in_progress', 'canceling', 'completed', 'busy', "
            "'no_answer', 'failed', 'canceled', 'skipped')",
        ),
        _of_business(table),
        _fk(table, "lead_id", "leads", "SET NULL"),
        _fk(table, "run_id", "outbound_call_runs", "CASCADE"),
        _pk(table, "id"),
        _unique(table, "run_id", "to_number"),
    )
    _index(table, "business_id", "id")
    _index(table, "run_id", "status")
    _index(
        table,
        "run_id",
        "next_attempt_at",
        "id",
        name="ix_outbound_call_jobs_queued",
        postgresql_where=sa.text("status = 'queued'"),
    )


def _call_attempts() -> None:
    table = "call_attempts"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        _int("business_id"),
        _int("run_id"),
        _int("job_id"),
        _int("number"),
        _text("account_sid", 64),
        _text("from_number", 20),
        _text("to_number", 20),
        _text("state", 16, default="dialing"),
        _text("reason", null=True),
        _text("call_sid", 64, null=True),
        _text("carrier_status", 32, null=True),
        _text("answered_by", 32, null=True),
        _int("duration_s", null=True),
        _at("created_at", default="clock_timestamp()"),
        _at("sent_at"),
        _at("checked_at"),
        _at("hangup_requested_at"),
        _at("answered_at"),
        _at("settled_at"),
        _check(
            "call_attempts_settled",
            "(settled_at IS NOT NULL) = "
            "(state IN ('completed', 'busy', 'no_answer', 'failed', 'canceled', 'not_placed'))",
        ),
        _check(
            "call_attempts_state",
            "state IN ('dialing', 'uncertain', 'placed', 'ringing', 'in_progress', 'canceling', 'completed', 'busy', "
            "'no_answer', 'failed', 'canceled', 'not_placed')",
        ),
        _of_business(table),
        _fk(table, "job_id", "outbound_call_jobs", "CASCADE"),
        _fk(table, "run_id", "outbound_call_runs", "CASCADE"),
        _pk(table, "id"),
        _unique(table, "call_sid"),
    )
    _index(table, "business_id", "created_at")
    _index(table, "job_id")
    _index(table, "run_id")
    _index(table, "business_id", name="ix_call_attempts_live", postgresql_where=UNSETTLED)
    _index(table, "job_id", name="uq_call_attempts_job_id_live", unique=True, postgresql_where=UNSETTLED)
    _index(
        table,
        "account_sid",
        "to_number",
        name="uq_call_attempts_account_number_live",
        unique=True,
        postgresql_where=UNSETTLED,
    )


def _recordings() -> None:
    table = "recordings"
    op.create_table(
        table,
        _id(),
        _int("business_id"),
        _text("recording_sid", 64),
        _text("call_sid", 64),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        _int("run_id", null=True),
        _text("status", 16, default="pending"),
        _text("reason", null=True),
        _text("media_url"),
        _int("carrier_duration_s", null=True),
        _int("attempt", default="0"),
        _int("retries", default="0"),
        _at("run_after", default="now()"),
        _at("lease_until"),
        _text("object_key", null=True),
        _int("bytes", null=True),
        _text("sha256", 64, null=True),
        _int("duration_ms", null=True),
        _text("transcript", null=True),
        _text("transcript_engine", 64, null=True),
        sa.Column(
            "transcript_search",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('english', coalesce(transcript, ''))", persisted=True),
            nullable=True,
        ),
        _at("created_at", default="now()"),
        _at("downloaded_at"),
        _at("finished_at"),
        _check(
            "recordings_status",
            "status IN ('pending', 'downloading', 'downloaded', 'transcribing', 'completed', 'absent', 'failed')",
        ),
        _fk(table, "attempt_id", "call_attempts", "SET NULL"),
        _of_business(table),
        _fk(table, "run_id", "outbound_call_runs", "SET NULL"),
        _pk(table, "id"),
        _unique(table, "recording_sid"),
    )
    _index(table, "business_id", "id")
    _index(table, "business_id", "run_id")
    _index(
        table,
        "run_after",
        name="ix_recordings_open",
        postgresql_where=sa.text("status IN ('pending', 'downloading', 'downloaded', 'transcribing')"),
    )
    _index(table, "transcript_search", name="ix_recordings_transcript_search", postgresql_using="gin")
