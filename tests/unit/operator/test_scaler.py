"""The built-in autoscaler: up at once, down slowly, never on stale numbers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_operator.plan import watched_pools
from switchboard_operator.render import pools
from switchboard_operator.scaler import STALE_S, Sample, Scaler, recommend, trimmed, wanted_replicas
from switchboard_operator.spec import Autoscaling, SwitchboardSpec
from unit.operator.fake_cluster import FakeCluster
from unit.operator.samples import OWNER, spec_dict

KEY = ("calls", "main")
SCALING = Autoscaling(min=0, max=20, jobs_per_replica=10, scale_down_stabilization_seconds=60)


def scaled_spec() -> SwitchboardSpec:
    found = spec_dict()
    found["workers"][0] = {"name": "calls", "queues": ["high", "default"], "autoscaling": SCALING.dump()}
    return SwitchboardSpec.model_validate(found)


@pytest.mark.parametrize(("runnable", "expected"), [(0, 0), (1, 1), (10, 1), (11, 2), (199, 20), (100_000, 20)])
def test_replicas_for_an_amount_of_work(runnable: int, expected: int) -> None:
    assert wanted_replicas(runnable, SCALING) == expected


@pytest.mark.parametrize(
    ("current", "samples", "expected"),
    [
        (1, [], None),
        (1, [Sample(0, 5)], None),
        (1, [Sample(99, 5)], 5),
        (5, [Sample(99, 1)], 5),
        (5, [Sample(39, 1), Sample(70, 3), Sample(99, 1)], 3),
        (5, [Sample(39, 9), Sample(99, 0)], 0),
        (5, [Sample(39, 0), Sample(70, 9), Sample(99, 0)], 5),
    ],
    ids=[
        "nothing known",
        "stale",
        "up at once",
        "window not seen",
        "highest of the window",
        "to zero",
        "never up again",
    ],
)
def test_recommendations_at_100_seconds(current: int, samples: list[Sample], expected: int | None) -> None:
    assert recommend(current, samples, 100.0, SCALING) == expected


@given(
    current=st.integers(0, 20),
    wanted=st.lists(st.integers(0, 20), min_size=1, max_size=30),
)
def test_it_stays_within_what_was_wanted_or_is_there(current: int, wanted: list[int]) -> None:
    samples = [Sample(100.0 - 10 * number, value) for number, value in enumerate(wanted)][::-1]

    found = recommend(current, samples, 100.0, SCALING)

    assert found in {current, *wanted}
    assert found is not None
    assert found >= min(current, samples[-1].wanted)


def test_a_window_in_which_the_api_did_not_answer_was_not_seen() -> None:
    samples = trimmed([Sample(0, 5), Sample(100, 0)], 100, SCALING)

    assert recommend(5, samples, 100, SCALING) == 5


def test_what_the_window_does_not_need_is_forgotten() -> None:
    samples = [Sample(float(at), 1) for at in range(0, 200, 10)]

    kept = trimmed(samples, 200.0, SCALING)

    assert [sample.at for sample in kept] == [140.0, 150.0, 160.0, 170.0, 180.0, 190.0]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_change_wakes_the_planner_and_stale_numbers_are_dropped() -> None:
    clock = Clock()
    woken: list[tuple[str, str]] = []
    scaler = Scaler(woken.append, clock)
    spec = scaled_spec()
    cluster = FakeCluster(spec.dump())
    cluster.settle()
    scaler.track(KEY, spec, cluster.observe())
    pool = next(pool for pool in pools(OWNER, spec) if pool.name == "calls")

    scaler.note(KEY, pool, 10)
    quiet = list(woken)
    scaler.note(KEY, pool, 55)

    assert quiet == []
    assert woken == [KEY]
    assert scaler.recommendations(KEY) == {"calls": 6}
    clock.now += STALE_S + 1
    assert scaler.recommendations(KEY) == {}


class Silent:
    """A session of which every request ends with the same error, or never; ``asked`` are the URLs."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.asked: list[str] = []

    @asynccontextmanager
    async def get(self, url: str, headers: dict[str, str]) -> AsyncIterator[None]:
        assert headers
        self.asked.append(url)
        if self.error:
            raise self.error
        await asyncio.Event().wait()
        yield


def ask(session: Silent, *names: str) -> None:
    """Ask once for all pools of Switchboards of these names."""
    spec = scaled_spec()
    cluster = FakeCluster(spec.dump())
    cluster.settle()
    observed = cluster.observe()
    scaler = Scaler(lambda _: None)
    for name in names:
        secrets = {f"{name}-internal": {"token": "cmFuZG9t"}}
        there = replace(observed, owner=replace(OWNER, name=name), secrets=secrets)
        scaler.track(("calls", name), spec, there)
    asyncio.run(scaler._ask_all(cast("aiohttp.ClientSession", session)))


@pytest.mark.parametrize(
    ("error", "times"),
    [(aiohttp.ClientConnectionError(), 1), (TimeoutError(), 1), (ValueError(), 3)],
    ids=["not reached", "no answer", "an answer that is none"],
)
def test_an_api_that_does_not_answer_is_not_asked_for_the_next_pool(error: Exception, times: int) -> None:
    session = Silent(error)

    ask(session, "main", "other")

    assert len(session.asked) == 2 * times


def test_slow_apis_keep_the_others_waiting_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard_operator.scaler._SWITCHBOARD_TIMEOUT_S", 0.01)
    session = Silent(None)

    ask(session, *(f"main-{number}" for number in range(30)))

    assert len(session.asked) == 30


def test_nothing_is_asked_for_that_keda_scales_or_that_is_paused() -> None:
    spec = scaled_spec()
    cluster = FakeCluster(spec.dump())
    cluster.settle()
    observed = cluster.observe()

    assert watched_pools(spec, observed) == ["calls", "bulk", "recorder"]
    # Nobody else asks for the fixed ones, and alerts go by the answers.
    assert watched_pools(spec, replace(observed, keda=True)) == ["bulk", "recorder"]
    assert watched_pools(spec, replace(observed, paused=True)) == []
