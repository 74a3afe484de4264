"""A database host that is switched off says nothing any more: nobody may wait for it for two hours."""

import socket
import sys
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine

from secrets_for_tests import CREDENTIALS_KEY
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.db import make_engine
from switchboard_core.settings import Settings

WITHIN_S = 30


@pytest.fixture
def engine(database_urls: DatabaseUrls) -> Iterator[Engine]:
    settings = Settings(_env_file=None, database_url=database_urls.app, credentials_keys=CREDENTIALS_KEY)
    engine = make_engine(settings, application_name="vanished-server-test")
    yield engine
    engine.dispose()


@pytest.mark.skipif(sys.platform != "linux", reason="the options of a socket are named by each system")
def test_its_connections_are_given_up_within_half_a_minute(engine: Engine) -> None:
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        with socket.socket(fileno=socket.dup(raw.fileno())) as line:
            idle, every, tries, unanswered_ms = (
                line.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            )
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert idle + every * tries <= WITHIN_S  # while an answer is awaited
    assert unanswered_ms <= WITHIN_S * 1000  # while a question is on its way
