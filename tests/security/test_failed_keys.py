"""Guessing API keys: an address that fails too often waits, and nobody else does."""

import hashlib
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import HTTPConnection
from websockets.exceptions import ConnectionClosed

from integration.api_support import NOBODY, RunningApi, assert_problem, fresh_api, running_api
from switchboard_api.addresses import UNKNOWN, ClientAddresses
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey
from switchboard_core.tenancy.models import Role

ALLOWED = 3
WRONG = "sbk_wrong"


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[RunningApi]:
    with fresh_api(
        postgres, migrated_template, valkey, failed_keys_per_minute=ALLOWED, trusted_proxies="127.0.0.1"
    ) as running:
        yield running


def guess(api: RunningApi, address: str, secret: str = WRONG) -> httpx.Response:
    return api.client(secret).get("/api/business", headers={"X-Forwarded-For": address})


def guesses(api: RunningApi, address: str, number: int = ALLOWED) -> list[int]:
    return [guess(api, address, f"{WRONG}{turn}").status_code for turn in range(number)]


def test_an_address_that_keeps_guessing_has_to_wait(api: RunningApi) -> None:
    assert guesses(api, "192.0.2.1") == [401] * ALLOWED
    refused = guess(api, "192.0.2.1")
    body = assert_problem(refused, 429, "Too many requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 60 / ALLOWED
    assert WRONG not in body["detail"]


def test_a_guess_that_would_be_right_is_refused_too_while_the_address_waits(api: RunningApi) -> None:
    acme = api.tenant()
    guesses(api, "192.0.2.2")
    assert guess(api, "192.0.2.2", acme.secrets[Role.VIEWER]).status_code == 429
    assert guess(api, "192.0.2.3", acme.secrets[Role.VIEWER]).status_code == 200


def test_who_has_worked_before_goes_on_behind_the_guesser_s_address(api: RunningApi) -> None:
    acme = api.tenant()
    assert guess(api, "192.0.2.4", acme.secrets[Role.VIEWER]).status_code == 200
    assert guesses(api, "192.0.2.4", ALLOWED + 1)[-1] == 429
    assert guess(api, "192.0.2.4", acme.secrets[Role.VIEWER]).status_code == 200


def test_a_key_that_was_revoked_counts_as_a_guess(api: RunningApi) -> None:
    acme = api.tenant()
    made = acme.owner.post("/api/keys", json={"name": "CRM", "role": "viewer"}).json()
    assert guess(api, "192.0.2.5", made["secret"]).status_code == 200
    acme.owner.delete(f"/api/keys/{made['id']}")
    seen = [guess(api, "192.0.2.5", made["secret"]).status_code for _ in range(ALLOWED + 1)]
    assert seen == [*[401] * ALLOWED, 429]


def test_good_keys_use_nothing_up(api: RunningApi) -> None:
    secrets = [secret for tenant in (api.tenant(), api.tenant()) for secret in tenant.secrets.values()]
    assert {guess(api, "192.0.2.6", secret).status_code for secret in secrets} == {200}
    assert guesses(api, "192.0.2.6") == [401] * ALLOWED


def test_a_request_without_a_key_is_no_guess(api: RunningApi) -> None:
    client = api.client()
    seen = {
        client.get("/api/business", headers={"X-Forwarded-For": "192.0.2.7"}).status_code for _ in range(ALLOWED + 2)
    }
    assert seen == {401}


def test_tickets_and_keys_of_a_socket_are_guesses_as_well(
    postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey
) -> None:
    with fresh_api(postgres, migrated_template, valkey, failed_keys_per_minute=2) as api:
        reasons = [
            closing_words(api, path, secret)
            for path, secret in (("?ticket=wrong", None), ("", WRONG), ("?ticket=wrong", None), ("", WRONG))
        ]
    assert ["Too many wrong keys" in reason for reason in reasons] == [False, False, True, True]


def closing_words(api: RunningApi, query: str, secret: str | None) -> str:
    with pytest.raises(ConnectionClosed) as closed:
        api.follow(f"/ws/tasks/1{query}", secret).recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    return closed.value.rcvd.reason


def test_a_forged_forwarded_for_gains_nothing(
    postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey
) -> None:
    with fresh_api(postgres, migrated_template, valkey, failed_keys_per_minute=2) as api:
        seen = [guess(api, f"192.0.2.{turn}").status_code for turn in range(4)]
    assert seen == [401, 401, 429, 429]


def test_neither_a_key_nor_its_hash_is_left_in_redis(api: RunningApi) -> None:
    acme = api.tenant()
    secret = acme.secrets[Role.OWNER]
    assert guess(api, "192.0.2.8", secret).status_code == 200
    stored = [key.decode() for key in api.runtime.redis.scan_iter()]
    assert stored
    assert not [key for key in stored if secret in key or hashlib.sha256(secret.encode()).hexdigest() in key]


def test_guesses_are_not_limited_while_redis_is_away(database_urls: DatabaseUrls) -> None:
    with running_api(database_url=database_urls.app, redis_url=f"redis://{NOBODY}/0", failed_keys_per_minute=1) as api:
        acme = api.tenant()
        assert [api.client(WRONG).get("/api/business").status_code for _ in range(3)] == [401] * 3
        assert acme.viewer.get("/api/business").status_code == 200


# Whom a request is held against, without a server.


def connection(peer: str | None, *forwarded: str) -> HTTPConnection:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return HTTPConnection({"type": "http", "headers": headers, "client": (peer, 1234) if peer else None})


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ((), "10.0.0.1"),
        (("203.0.113.7",), "203.0.113.7"),
        (("1.1.1.1, 203.0.113.7, 10.0.0.2",), "203.0.113.7"),
        (("1.1.1.1", "203.0.113.7"), "203.0.113.7"),
        (("203.0.113.7:4711",), "203.0.113.7"),
        (("[2001:db8::1]:4711",), "2001:db8::/64"),
        (("::ffff:203.0.113.7",), "203.0.113.7"),
        (("1.1.1.1, rubbish",), "10.0.0.1"),
        (("",), "10.0.0.1"),
        (("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_of_ours_counts(forwarded: tuple[str, ...], expected: str) -> None:
    assert ClientAddresses(("10.0.0.0/8",)).of(connection("10.0.0.1", *forwarded)) == expected


def test_without_trusted_proxies_the_header_counts_for_nothing() -> None:
    assert ClientAddresses().of(connection("10.0.0.1", "203.0.113.7")) == "10.0.0.1"


def test_one_customer_s_ipv6_addresses_are_one() -> None:
    addresses = ClientAddresses()
    assert addresses.of(connection("2001:db8::1")) == addresses.of(connection("2001:db8::ffff:1"))
    assert addresses.of(connection("2001:db8::1")) != addresses.of(connection("2001:db8:0:1::1"))


def test_a_peer_without_an_address_is_one_of_its_own() -> None:
    assert ClientAddresses().of(connection(None)) == UNKNOWN
