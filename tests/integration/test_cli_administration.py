"""What the administrator does with nothing but the database at hand: list businesses, make a key, stop every call."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cli_support import Ran, ran
from switchboard_cli.devstack import DatabaseUrls, free_port
from switchboard_core.db import Database, make_engine
from switchboard_core.settings import Settings
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import authenticate

_RUN = """
INSERT INTO outbound_call_runs (business_id, name, status, message, calling_from, calling_until, calling_days)
VALUES (%s, 'Spring', %s, 'Hello', '09:00', '20:00', 127) RETURNING id
"""


class Installation:
    """A database with two businesses and no service."""

    def __init__(self, urls: DatabaseUrls, owner: psycopg.Connection[Any]) -> None:
        self.urls = urls
        self._owner = owner
        made = owner.execute("INSERT INTO businesses (name) VALUES ('Acme'), ('Bolt') RETURNING id").fetchall()
        self.acme, self.bolt = (business_id for (business_id,) in made)

    def run_of(self, business_id: int, status: str) -> int:
        """A run in a state."""
        row = self._owner.execute(_RUN, (business_id, status)).fetchone()
        assert row is not None
        return int(row[0])

    def states(self) -> dict[int, str]:
        """The state of each run."""
        return dict(self._owner.execute("SELECT id, status FROM outbound_call_runs").fetchall())

    def count(self, query: str) -> int:
        """One number from the database."""
        row = self._owner.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def says(self, *words: str) -> Ran:
        """What a command says that knows the database and nothing else."""
        return ran(*words, DATABASE_URL=self.urls.app, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")


@pytest.fixture
def installation(database_urls: DatabaseUrls) -> Iterator[Installation]:
    with psycopg.connect(database_urls.owner.replace("+psycopg", "", 1), autocommit=True) as owner:
        yield Installation(database_urls, owner)


def test_the_businesses_are_listed(installation: Installation) -> None:
    listed = installation.says("business", "list", "--json")
    assert (listed.status, listed.err) == (0, "")
    assert listed.json == [{"id": installation.acme, "name": "Acme"}, {"id": installation.bolt, "name": "Bolt"}]
    assert "Bolt" in installation.says("business", "list").out


def test_a_business_whose_last_owner_key_is_lost_gets_another_one_that_works(installation: Installation) -> None:
    made = installation.says("business", "new-key", str(installation.bolt), "--json")
    assert (made.status, made.err) == (0, "")
    database = Database(make_engine(Settings(database_url=installation.urls.app), application_name="test"))
    try:
        caller = authenticate(database, made.json["api_key"])
    finally:
        database.dispose()
    assert (caller.business_id, caller.role) == (installation.bolt, Role.OWNER)
    assert installation.count("SELECT count(*) FROM audit_events WHERE action = 'api_key.created'") == 1


def test_a_key_for_a_business_that_does_not_exist_is_refused(installation: Installation) -> None:
    told = installation.says("business", "new-key", "999")
    assert told.status == 1
    assert told.err == "Error: There is no business 999: `switchboard business list` shows them.\n"
    assert installation.count("SELECT count(*) FROM api_keys") == 0


def test_every_call_of_every_business_is_stopped_without_redis_and_services(installation: Installation) -> None:
    pending = installation.run_of(installation.acme, "pending")
    running, over = (installation.run_of(installation.bolt, status) for status in ("running", "completed"))
    told = installation.says("stop-calls", "--yes", "--json")
    assert (told.status, told.err) == (0, "")
    assert told.json == {
        "paused": [{"business": installation.acme, "run": pending}, {"business": installation.bolt, "run": running}]
    }
    assert installation.states() == {pending: "paused", running: "paused", over: "completed"}
    assert installation.count("SELECT count(*) FROM audit_events WHERE action = 'run.paused'") == 2
    assert installation.says("stop-calls", "--yes", "--json").json == {"paused": []}


def test_the_calls_of_one_business_alone_are_stopped(installation: Installation) -> None:
    theirs, others = (installation.run_of(each, "running") for each in (installation.acme, installation.bolt))
    told = installation.says("stop-calls", "--business", str(installation.acme), "--yes")
    assert told.status == 0
    assert f"resume it with `switchboard run resume {theirs}`" in told.err
    assert installation.states() == {theirs: "paused", others: "running"}


def test_nothing_is_stopped_without_a_yes(installation: Installation) -> None:
    run = installation.run_of(installation.acme, "running")
    assert installation.says("stop-calls").status == 1
    assert installation.states() == {run: "running"}


@pytest.mark.parametrize("command", [("business", "list"), ("business", "new-key", "1"), ("stop-calls", "--yes")])
def test_a_database_that_is_away_is_one_sentence(command: tuple[str, ...]) -> None:
    url = f"postgresql+psycopg://app:secret@127.0.0.1:{free_port()}/none"
    told = ran(*command, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1/0")
    assert told.status == 1
    assert told.err == "Error: The database does not answer: check that it runs and what DATABASE_URL says.\n"
