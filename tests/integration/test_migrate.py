"""``switchboard migrate`` against a real PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from migration_support import connected, migration_settings
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.migrate import (
    AppRoleUnsuitable,
    DatabaseUnreachable,
    IncompatibleSchema,
    MigrationFailed,
    MigrationLockNotObtained,
    MigrationReport,
    SchemaState,
    read_state,
    run_migrations,
)
from switchboard_core.migrate.connection import owner_connection, owner_engine, set_timeouts
from switchboard_core.migrate.lock import LOCK_KEY
from switchboard_core.migrate.revisions import branch

ALL = tuple(branch("expand"))
NEWEST = int(ALL[-1])
JOB_TYPES = (
    "delete_receipts_all",
    "delete_leads",
    "update_leads",
    "delete_imported_leads",
    "enqueue_outbound_calls",
    "broadcast",
)


class FakeTime:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, on_first_sleep: Callable[[], None] | None = None) -> None:
        self.now = 0.0
        self.naps: list[float] = []
        self._on_first_sleep = on_first_sleep

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
        if self._on_first_sleep and len(self.naps) == 1:
            self._on_first_sleep()

    def clock(self) -> float:
        return self.now


def state_of(urls: DatabaseUrls) -> SchemaState:
    with connected(urls.owner) as connection:
        return read_state(connection)


def tables_of(urls: DatabaseUrls) -> set[str]:
    with connected(urls.owner) as connection:
        return set(connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars())


def pretend_release(urls: DatabaseUrls, *, schema_seq: int, min_code_seq: int) -> None:
    """Leave the database as a newer release would, revisions unknown to this one included."""
    with connected(urls.owner) as connection:
        connection.execute(
            text("UPDATE schema_state SET schema_seq = :schema_seq, min_code_seq = :min_code_seq"),
            {"schema_seq": schema_seq, "min_code_seq": min_code_seq},
        )
        connection.execute(text("UPDATE alembic_version SET version_num = :seq"), {"seq": str(schema_seq)})


def allowed_job_types(connection: Connection) -> str:
    definition = text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'chk_job_type'")
    return str(connection.execute(definition).scalar_one())


@contextmanager
def lock_held(urls: DatabaseUrls) -> Iterator[tuple[int, Callable[[], None]]]:
    """Another session holds the migration lock; gives its process id and a function that lets go."""
    with connected(urls.owner, "somebody else") as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})

        def let_go() -> None:
            connection.execute(text("SELECT pg_advisory_unlock_all()"))

        yield pid, let_go


@contextmanager
def table_read_in_open_transaction(urls: DatabaseUrls, table: str) -> Iterator[None]:
    with connected(urls.owner, "nightly-report") as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        yield
        connection.exec_driver_sql("ROLLBACK")


def test_an_empty_database_gets_every_expand_revision_in_order(empty_database_urls: DatabaseUrls) -> None:
    report = run_migrations(migration_settings(empty_database_urls))

    assert report.applied == ALL
    assert (report.from_seq, report.to_seq, report.ok, report.skipped) == (0, NEWEST, True, False)
    assert state_of(empty_database_urls) == SchemaState(schema_seq=NEWEST, min_code_seq=101)


def test_the_contract_phase_follows_the_expand_phase(empty_database_urls: DatabaseUrls) -> None:
    settings = migration_settings(empty_database_urls)
    with pytest.raises(IncompatibleSchema, match="run `switchboard migrate --phase expand` first"):
        run_migrations(settings, phase="contract")
    assert tables_of(empty_database_urls) == set()

    run_migrations(settings)
    assert run_migrations(settings, phase="contract").applied == ("c101",)
    assert run_migrations(settings, phase="contract").skipped


def test_the_upgrade_from_103_to_104_allows_five_more_job_types(empty_database_urls: DatabaseUrls) -> None:
    settings = migration_settings(empty_database_urls)
    run_migrations(settings, target="103")
    with connected(empty_database_urls.owner) as connection:
        business = connection.execute(text("INSERT INTO businesses (name) VALUES ('A') RETURNING id")).scalar_one()
        insert = text("INSERT INTO background_jobs (business_id, job_type, queue) VALUES (:business, :type, 'low')")
        connection.execute(insert, {"business": business, "type": "delete_receipts_all"})
        with pytest.raises(IntegrityError, match="chk_job_type"):
            connection.execute(insert, {"business": business, "type": "delete_leads"})

        report = run_migrations(settings, target="104")

        assert (report.from_seq, report.to_seq, report.applied) == (103, 104, ("104",))
        for job_type in JOB_TYPES:
            connection.execute(insert, {"business": business, "type": job_type})
        with pytest.raises(IntegrityError, match="chk_job_type"):
            connection.execute(insert, {"business": business, "type": "mine_bitcoin"})
        assert "NOT VALID" not in allowed_job_types(connection)


def test_the_upgrade_logs_the_words_that_people_search_for(empty_database_urls: DatabaseUrls) -> None:
    settings = migration_settings(empty_database_urls)
    run_migrations(settings, target="103")

    with capture_logs() as lines:
        run_migrations(settings)

    words = [
        "MIGRATION CHECKPOINT: Starting apply_migrations()",
        "Set statement_timeout to 120s for migration connection",
        "Acquired migration lock",
        "Migration 104: Updating background_jobs job_type constraint",
        "Migration 104 complete: job_type constraint updated",
        f"Allowed job types: {', '.join(JOB_TYPES)}",
        "Released migration lock",
        "MIGRATIONS COMPLETE",
    ]
    assert [line["event"] for line in lines if line["event"] in words] == words


def test_a_migrated_database_is_skipped(database_urls: DatabaseUrls) -> None:
    report = run_migrations(migration_settings(database_urls))

    assert report.skipped
    assert report.ok
    assert report.reason == f"The schema (sequence {NEWEST}) is up to date."


def test_a_check_names_what_is_missing_and_touches_nothing(empty_database_urls: DatabaseUrls) -> None:
    report = run_migrations(migration_settings(empty_database_urls), check=True)

    assert not report.ok
    assert report.pending == ALL
    assert tables_of(empty_database_urls) == set()


def test_a_check_of_a_migrated_database_is_ok(database_urls: DatabaseUrls) -> None:
    report = run_migrations(migration_settings(database_urls), check=True)

    assert report.ok
    assert report.pending == ()


def test_a_check_does_not_wait_for_the_lock(database_urls: DatabaseUrls) -> None:
    with lock_held(database_urls):
        assert run_migrations(migration_settings(database_urls), check=True).ok


def test_of_eight_migrators_at_once_one_migrates_and_none_hangs(empty_database_urls: DatabaseUrls) -> None:
    # The lock is between sessions of PostgreSQL, so eight threads compete as eight processes would.
    start = threading.Barrier(8)

    def migrate_with_all_others() -> MigrationReport:
        start.wait()
        return run_migrations(migration_settings(empty_database_urls))

    with ThreadPoolExecutor(8) as pool:
        migrators = [pool.submit(migrate_with_all_others) for _ in range(8)]
        reports = [migrator.result(timeout=60) for migrator in migrators]

    assert sorted(len(report.applied) for report in reports) == [0] * 7 + [len(ALL)]
    assert {report.to_seq for report in reports} == {NEWEST}


def test_a_migrator_that_finds_the_work_done_after_waiting_skips(empty_database_urls: DatabaseUrls) -> None:
    settings = migration_settings(empty_database_urls)
    with lock_held(empty_database_urls) as (_, let_go):

        def another_migrates() -> None:
            let_go()
            run_migrations(settings)

        waiting = FakeTime(another_migrates)
        report = run_migrations(settings, clock=waiting.clock, sleep=waiting.sleep)

    assert report.skipped
    assert report.ok
    assert report.reason == "Another migrator did the work meanwhile."
    assert (report.from_seq, report.to_seq) == (0, NEWEST)


def test_a_lock_that_is_never_released_is_tried_for_a_bounded_time(empty_database_urls: DatabaseUrls) -> None:
    waiting = FakeTime()
    settings = migration_settings(empty_database_urls, migration_lock_timeout_seconds=30)
    with (
        lock_held(empty_database_urls) as (pid, _),
        pytest.raises(MigrationLockNotObtained) as refused,
    ):
        run_migrations(settings, clock=waiting.clock, sleep=waiting.sleep)

    assert sum(waiting.naps) == pytest.approx(30)
    assert max(waiting.naps) <= 1
    assert f"held by process {pid} (somebody else), connected since " in str(refused.value)
    assert tables_of(empty_database_urls) == set()


def test_a_table_in_use_makes_the_migration_give_up_and_name_the_user(empty_database_urls: DatabaseUrls) -> None:
    settings = migration_settings(empty_database_urls, migration_table_lock_timeout_seconds=0.6)
    run_migrations(settings, target="103")

    with (
        table_read_in_open_transaction(empty_database_urls, "background_jobs"),
        pytest.raises(MigrationFailed) as failed,
    ):
        run_migrations(settings)

    assert failed.value.revision == "104"
    assert "gave up after waiting 0.6 s for a table lock" in failed.value.sentence
    assert "nightly-report" in failed.value.sentence
    assert "idle in transaction" in failed.value.sentence
    assert state_of(empty_database_urls).schema_seq == 103
    assert run_migrations(settings).applied == ALL[ALL.index("104") :]


def test_of_eight_migrators_that_meet_a_lock_none_hangs_and_each_says_who_holds_it(
    empty_database_urls: DatabaseUrls,
) -> None:
    settings = migration_settings(empty_database_urls, migration_table_lock_timeout_seconds=0.3)
    run_migrations(settings, target="103")

    def give_up() -> str:
        with pytest.raises(MigrationFailed) as failed:
            run_migrations(settings)
        return failed.value.sentence

    with table_read_in_open_transaction(empty_database_urls, "background_jobs"), ThreadPoolExecutor(8) as pool:
        migrators = [pool.submit(give_up) for _ in range(8)]
        sentences = [migrator.result(timeout=60) for migrator in migrators]

    assert [sentence for sentence in sentences if "nightly-report" not in sentence] == []
    assert state_of(empty_database_urls).schema_seq == 103
    assert run_migrations(settings, target="104").to_seq == 104


@pytest.mark.parametrize("revision", ["104", "106"])
def test_a_migration_outside_a_transaction_that_was_cut_off_before_it_was_recorded_can_be_repeated(
    empty_database_urls: DatabaseUrls, revision: str
) -> None:
    settings = migration_settings(empty_database_urls)
    run_migrations(settings, target=revision)
    before = ALL[ALL.index(revision) - 1]
    with connected(empty_database_urls.owner) as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{before}'")
        connection.exec_driver_sql(f"UPDATE schema_state SET schema_seq = {before}")

    assert run_migrations(settings, target=revision).applied == (revision,)


def test_grants_that_a_dying_migrator_left_undone_are_completed(empty_database_urls: DatabaseUrls) -> None:
    settings = migration_settings(empty_database_urls)
    run_migrations(settings)
    with connected(empty_database_urls.owner) as connection:
        connection.exec_driver_sql("REVOKE ALL ON leads, leads_id_seq FROM switchboard_app")
        connection.exec_driver_sql("REVOKE ALL ON FUNCTION find_api_key FROM switchboard_app")

        assert run_migrations(settings).skipped

        granted = connection.exec_driver_sql(
            "SELECT has_table_privilege('switchboard_app', 'leads', 'SELECT,DELETE'), "
            "has_sequence_privilege('switchboard_app', 'leads_id_seq', 'USAGE'), "
            "has_function_privilege('switchboard_app', 'find_api_key(bytea)', 'EXECUTE')"
        ).one()
    assert tuple(granted) == (True, True, True)


@pytest.mark.parametrize("check", [False, True], ids=["migrating", "checking"])
def test_a_newer_schema_that_supports_this_release_is_left_alone(
    empty_database_urls: DatabaseUrls, check: bool
) -> None:
    settings = migration_settings(empty_database_urls)
    run_migrations(settings)
    pretend_release(empty_database_urls, schema_seq=NEWEST + 5, min_code_seq=104)

    report = run_migrations(settings, check=check)

    assert report.ok
    assert report.skipped
    assert (report.from_seq, report.to_seq) == (NEWEST + 5, NEWEST + 5)
    assert "newer than this release" in report.reason


@pytest.mark.parametrize("check", [False, True], ids=["migrating", "checking"])
def test_a_schema_that_has_dropped_this_release_is_refused_untouched(
    empty_database_urls: DatabaseUrls, check: bool
) -> None:
    settings = migration_settings(empty_database_urls)
    run_migrations(settings)
    pretend_release(empty_database_urls, schema_seq=NEWEST + 5, min_code_seq=NEWEST + 1)

    with capture_logs() as lines, pytest.raises(IncompatibleSchema, match=f"from sequence {NEWEST + 1} on"):
        run_migrations(settings, check=check)

    assert lines == []
    assert state_of(empty_database_urls) == SchemaState(schema_seq=NEWEST + 5, min_code_seq=NEWEST + 1)


def test_a_missing_application_role_is_explained_before_anything_is_applied(
    empty_database_urls: DatabaseUrls,
) -> None:
    settings = migration_settings(empty_database_urls, app_database_role="nobody-made-me")
    with pytest.raises(AppRoleUnsuitable, match='as an administrator run `CREATE ROLE "nobody-made-me" LOGIN'):
        run_migrations(settings)
    assert tables_of(empty_database_urls) == set()


def test_the_owner_is_refused_as_application_role(empty_database_urls: DatabaseUrls) -> None:
    settings = migration_settings(empty_database_urls, app_database_role="switchboard_owner")
    with pytest.raises(AppRoleUnsuitable, match="would not keep tenants apart"):
        run_migrations(settings)
    assert tables_of(empty_database_urls) == set()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://owner:secret-word@127.0.0.1:1/none", "cannot be reached"),
        ("sqlite:///file.db", "MIGRATION_DATABASE_URL is wrong"),
        ("no url at all", "MIGRATION_DATABASE_URL is wrong"),
        ("postgresql://owner:@host:secret-word@127.0.0.1/none", "MIGRATION_DATABASE_URL is wrong"),
    ],
)
def test_a_database_that_cannot_be_reached_is_explained_without_its_password(url: str, words: str) -> None:
    with pytest.raises(DatabaseUnreachable, match=words) as refused:
        run_migrations(migration_settings(DatabaseUrls(owner=url, app=url)))
    assert "secret-word" not in str(refused.value)


def test_statements_and_lock_waits_of_a_step_are_bounded(empty_database_urls: DatabaseUrls) -> None:
    settings: Any = migration_settings(empty_database_urls)
    with owner_connection(owner_engine(settings)) as connection:
        set_timeouts(connection, settings)
        limits = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("statement_timeout", "lock_timeout")]
    assert limits == ["2min", "3s"]
