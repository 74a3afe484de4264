"""The functions that look across tenants, called as the application's role."""

import hashlib
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from integration.crossing_support import World
from migration_support import connected, opened
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core import crossing
from switchboard_core.crossing import AttemptRef, Ref
from switchboard_core.db import Database


@pytest.fixture
def world(database_urls: DatabaseUrls) -> Iterator[World]:
    with connected(database_urls.owner) as connection:
        yield World(connection)


@pytest.fixture
def database(database_urls: DatabaseUrls) -> Iterator[Database]:
    with opened(database_urls.app) as database:
        yield database


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.crossing() as session:
        yield session


def test_a_key_is_found_by_its_hash_before_its_tenant_is_known(world: World, session: Session) -> None:
    business = world.business()
    digest = hashlib.sha256(b"key").digest()
    key = world.one(
        "INSERT INTO api_keys (business_id, name, role, prefix, key_hash) "
        "VALUES (:business, 'k', 'owner', 'sk', :digest) RETURNING id",
        business=business,
        digest=digest,
    )
    assert crossing.api_key(session, digest) == Ref(business, key)
    assert crossing.api_key(session, b"another") is None


def test_rows_are_found_by_their_id(world: World, session: Session) -> None:
    business = world.business()
    job, run, recording = world.job(business), world.run(business), world.recording(business)
    attempt = world.attempt(business, run, sid="CA1")

    assert crossing.background_job(session, job) == Ref(business, job)
    assert crossing.run(session, run) == Ref(business, run)
    assert crossing.recording(session, recording) == Ref(business, recording)
    assert crossing.attempt(session, attempt) == AttemptRef(business, attempt)
    assert crossing.attempt_by_sid(session, "CA1") == AttemptRef(business, attempt)
    assert crossing.attempt_by_sid(session, "CA2") is None
    assert crossing.businesses(session) == [Ref(business, business)]


def test_a_message_of_somebody_is_known_by_the_carriers_id_of_it(world: World, session: Session) -> None:
    business = world.business()
    world.run_sql("INSERT INTO incoming_messages (message_sid, business_id) VALUES ('SM1', :id)", id=business)
    assert crossing.incoming_message(session, "SM1") == Ref(business, business)
    assert crossing.incoming_message(session, "SM2") is None


def test_due_jobs_are_admitted_ripe_and_leased_by_nobody_oldest_first(world: World, session: Session) -> None:
    business = world.business()
    second = world.job(business, after="now() - interval '1 minute'")
    first = world.job(business, after="now() - interval '2 minutes'", lease="now() - interval '1 second'")
    world.job(business, admitted="NULL")
    world.job(business, after="now() + interval '1 minute'")
    world.job(business, lease="now() + interval '1 minute'")

    assert crossing.due_background_jobs(session, 10) == [Ref(business, first), Ref(business, second)]
    assert crossing.due_background_jobs(session, 1) == [Ref(business, first)]
    assert crossing.due_background_jobs(session, 1, queued_ids=[first, 10**18 - 1]) == [Ref(business, second)]


def test_businesses_wait_with_their_oldest_job_that_is_not_in_redis(world: World, session: Session) -> None:
    early, late = world.business(), world.business()
    world.job(late)
    oldest_of_late = world.job(late, admitted="NULL")
    oldest_of_early = world.job(early, admitted="NULL")
    world.job(early, admitted="NULL")

    assert crossing.businesses_with_waiting_jobs(session) == [Ref(late, oldest_of_late), Ref(early, oldest_of_early)]


def test_a_run_is_callable_when_a_queued_job_is_due_and_a_slot_is_free(world: World, session: Session) -> None:
    business = world.business(cap=1)
    callable_run, paused, waiting = world.run(business), world.run(business, "paused"), world.run(business)
    for run in (callable_run, paused):
        world.call_job(business, run)
    world.call_job(business, waiting, due="now() + interval '1 minute'")

    assert crossing.callable_runs(session) == [Ref(business, callable_run)]


def test_a_run_is_not_callable_while_every_slot_of_its_business_is_taken(world: World, session: Session) -> None:
    business = world.business(cap=1)
    run = world.run(business)
    world.call_job(business, run)
    world.attempt(business, run)

    assert crossing.callable_runs(session) == []


def test_a_run_is_not_callable_before_its_business_is_to_be_woken(world: World, session: Session) -> None:
    asleep = world.business(wake="now() + interval '1 minute'")
    awake = world.business(wake="now() - interval '1 second'")
    runs = {business: world.run(business) for business in (asleep, awake)}
    for business, run in runs.items():
        world.call_job(business, run)

    assert crossing.callable_runs(session) == [Ref(awake, runs[awake])]


def test_open_runs_are_those_that_have_not_ended(world: World, session: Session) -> None:
    business = world.business()
    open_runs = [world.run(business, status) for status in ("pending", "running", "paused")]
    world.run(business, "completed")

    assert crossing.open_runs(session) == [Ref(business, run) for run in open_runs]


def test_attempts_are_silent_when_nobody_has_heard_of_them_for_long(world: World, session: Session) -> None:
    business = world.business()
    run = world.run(business)
    silent = world.attempt(business, run, heard="clock_timestamp() - interval '20 seconds'")
    most_silent = world.attempt(business, run, heard="clock_timestamp() - interval '30 seconds'")
    world.attempt(business, run)

    assert crossing.silent_attempts(session, 15.0, 10) == [
        AttemptRef(business, most_silent),
        AttemptRef(business, silent),
    ]


def test_leads_are_purgeable_once_they_were_deleted_for_long_and_still_hold_somebody(
    world: World, session: Session
) -> None:
    def lead(business: int, deleted: str, phone: str = "+14155550101") -> int:
        return world.one(
            "INSERT INTO leads (business_id, phone, timezone, deleted_at) "
            f"VALUES (:business, :phone, 'UTC', {deleted}) RETURNING id",
            business=business,
            phone=phone,
        )

    acme, rival = world.business(), world.business()
    second = lead(acme, "now() - interval '2 hours'")
    first = lead(rival, "now() - interval '3 hours'")
    lead(acme, "now() - interval '4 hours'", phone="")
    lead(acme, "now() - interval '1 minute'")
    lead(acme, "NULL")

    assert crossing.purgeable_leads(session, 3600.0, 10) == [Ref(rival, first), Ref(acme, second)]
    assert crossing.purgeable_leads(session, 3600.0, 1) == [Ref(rival, first)]


def test_due_recordings_have_work_left_and_no_lease(world: World, session: Session) -> None:
    business = world.business()
    due = [world.recording(business, status=status) for status in ("pending", "downloaded")]
    world.recording(business, status="completed")
    world.recording(business, lease="now() + interval '1 minute'")

    assert crossing.due_recordings(session, 10) == [Ref(business, recording) for recording in due]
    assert crossing.due_recordings(session, 10, queued_ids=due[:1]) == [Ref(business, due[1])]


def test_transcripts_are_searched_within_one_business_best_match_first(world: World, database: Database) -> None:
    own, other = world.business(), world.business()
    once = world.recording(own, words="please send the invoice")
    twice = world.recording(own, words="the invoice, I said the invoice")
    world.recording(own, words="nothing of the kind")
    world.recording(other, words="my own invoice")

    with database.tenant(own) as session:
        assert crossing.search_transcripts(session, "invoices", 10, 0) == [Ref(own, twice), Ref(own, once)]
        assert crossing.search_transcripts(session, "invoices", 10, 1) == [Ref(own, once)]
    with database.crossing() as session:
        assert crossing.search_transcripts(session, "invoices", 10, 0) == []


def test_transcript_search_uses_the_full_text_index(
    world: World, database: Database, database_urls: DatabaseUrls
) -> None:
    business = world.business()
    world.run_sql(
        "INSERT INTO recordings (business_id, recording_sid, call_sid, media_url, status, transcript) "
        "SELECT :business, 'RX' || n, 'CA', '', 'completed', 'call ' || n || ' about topic ' || n % 500 "
        "FROM generate_series(1, 5000) n",
        business=business,
    )
    # As autovacuum does: while all of an index waits in its pending list, reading the small table is cheaper indeed.
    world.run_sql("SELECT gin_clean_pending_list('ix_recordings_transcript_search')")
    world.run_sql("ANALYZE recordings")

    with database.tenant(business) as session:
        assert len(crossing.search_transcripts(session, "4711", 10, 0)) == 1
        session.execute(text("SELECT pg_stat_force_next_flush()"))

    with connected(database_urls.owner) as connection:
        scans = connection.execute(
            text("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'ix_recordings_transcript_search'")
        ).scalar_one()
    assert scans > 0


def test_the_startup_cleanup_is_claimed_once_within_its_interval(database: Database) -> None:
    with database.crossing() as session:
        assert crossing.claim_startup_cleanup(session, 60.0)
    with database.crossing() as session:
        assert not crossing.claim_startup_cleanup(session, 60.0)
        assert crossing.claim_startup_cleanup(session, 0.0)


def test_the_startup_cleanup_is_not_claimed_while_another_process_cleans_up(
    session: Session, database_urls: DatabaseUrls
) -> None:
    assert crossing.claim_startup_cleanup(session, 60.0)
    with opened(database_urls.app) as other_process, other_process.crossing() as another:
        assert not crossing.claim_startup_cleanup(another, 0.0)


def test_a_startup_cleanup_that_fails_gives_its_claim_back(database: Database) -> None:
    with database.crossing() as session:
        assert crossing.claim_startup_cleanup(session, 60.0)
        session.rollback()
    with database.crossing() as session:
        assert crossing.claim_startup_cleanup(session, 60.0)
