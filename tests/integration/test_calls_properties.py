"""Admission and slots under random events, against models; the longer walks are ``python -m properties``."""

import os
from collections.abc import Iterator

import pytest
from redis import Redis

from integration.calls_servers import calls_bench
from integration.calls_support import CallsBench
from properties import pure, real, slots
from switchboard_cli.devstack import EmbeddedPostgres, EmbeddedValkey

SEED = int(os.environ.get("SWITCHBOARD_TEST_SEED", "3"))
EVENTS = 250_000
SLOT_EVENTS = 5_000
REAL_EVENTS = 300


@pytest.fixture(scope="module")
def bench(postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey) -> Iterator[CallsBench]:
    with calls_bench(postgres, migrated_template, valkey) as made:
        yield made


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_a_million_random_events_keep_slots_states_rates_and_breaker_in_order(seed: int) -> None:
    seen = pure.walk(EVENTS, seed)
    assert set(seen) == {"admitted", "moved", "late", "no slot", "breaker", "rate", "nothing due"}
    assert seen["admitted"] > EVENTS / 50


@pytest.mark.parametrize("seed", [SEED])
def test_the_slots_in_valkey_are_what_the_model_says(redis_url: str, seed: int) -> None:
    with Redis.from_url(redis_url) as redis:
        seen = slots.walk(redis, SLOT_EVENTS, seed)
    assert min(seen[what] for what in ("taken", "has one", "refused", "released", "not held", "rebuilt", "emptied")) > 0


@pytest.mark.parametrize("seed", [SEED])
def test_the_real_admission_does_what_the_model_says(bench: CallsBench, seed: int) -> None:
    seen = real.walk(bench, REAL_EVENTS, seed)
    assert seen["admitted"] > REAL_EVENTS / 20
