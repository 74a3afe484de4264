"""The semaphore in Valkey against a model of it, and against many threads at once."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis import Redis

from switchboard_core.calls.semaphore import CallSemaphore

BUSINESSES = st.integers(1, 3)
ATTEMPTS = st.sampled_from([f"attempt-{number}" for number in range(8)])


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


class SemaphoreAgainstModel(RuleBasedStateMachine):
    """Any order of calls, doubled and late ones included, leaves what a plain set would hold."""

    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.semaphore = CallSemaphore(self.redis)
        self.model: defaultdict[int, set[str]] = defaultdict(set)

    @rule(business=BUSINESSES, attempt=ATTEMPTS, cap=st.integers(0, 4))
    def acquire(self, business: int, attempt: str, cap: int) -> None:
        held = self.model[business]
        taken = self.semaphore.acquire(business, attempt, cap)
        assert taken is (attempt in held or len(held) < cap)
        if taken and attempt not in held:
            held.add(attempt)
            assert len(held) <= cap

    @rule(business=BUSINESSES, attempt=ATTEMPTS)
    def release(self, business: int, attempt: str) -> None:
        assert self.semaphore.release(business, attempt) is (attempt in self.model[business])
        self.model[business].discard(attempt)

    @rule(business=BUSINESSES, attempt=ATTEMPTS)
    def release_twice(self, business: int, attempt: str) -> None:
        self.release(business, attempt)
        assert self.semaphore.release(business, attempt) is False

    @rule(business=BUSINESSES, attempts=st.lists(ATTEMPTS, max_size=8))
    def rebuild(self, business: int, attempts: list[str]) -> None:
        self.semaphore.rebuild(business, attempts)
        self.model[business] = set(attempts)

    @rule()
    def redis_is_emptied(self) -> None:
        self.redis.flushall()
        self.model.clear()

    @rule()
    def redis_forgets_its_scripts(self) -> None:
        self.redis.script_flush()

    @rule()
    def another_process_looks(self) -> None:
        self.semaphore = CallSemaphore(self.redis)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for business in (1, 2, 3):
            assert self.semaphore.members(business) == self.model[business]
            assert self.semaphore.active(business) == len(self.model[business])


def test_the_semaphore_is_a_set_with_a_cap_in_any_order_of_calls(redis: Redis) -> None:
    class Machine(SemaphoreAgainstModel):
        pass

    Machine.redis = redis
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=40, stateful_step_count=40, deadline=None, derandomize=True, database=None),
    )


def test_many_threads_never_hold_more_than_the_cap(redis: Redis) -> None:
    cap, semaphore = 3, CallSemaphore(redis)
    holding, most, lock = 0, 0, threading.Lock()

    def work(seed: int) -> int:
        nonlocal holding, most
        random, got = Random(seed), 0
        for turn in range(60):
            attempt = f"{seed}-{turn}"
            if not semaphore.acquire(1, attempt, cap):
                continue
            with lock:
                holding += 1
                most = max(most, holding, semaphore.active(1))
            got += 1
            with lock:
                holding -= 1
            for _ in range(random.choice((1, 1, 2))):
                semaphore.release(1, attempt)
        return got

    with ThreadPoolExecutor(max_workers=8) as pool:
        assert sum(pool.map(work, range(8))) > 0
    assert most <= cap
    assert semaphore.active(1) == 0


def test_one_business_says_nothing_about_another(redis: Redis) -> None:
    semaphore = CallSemaphore(redis)
    assert all(semaphore.acquire(business, "same", 1) for business in range(1, 50))
    assert not semaphore.acquire(7, "other", 1)
    assert semaphore.release(7, "same")
    assert semaphore.acquire(7, "other", 1)


def test_the_largest_cap_can_be_rebuilt_in_one_step(redis: Redis) -> None:
    attempts = [f"{number:032x}" for number in range(1000)]
    semaphore = CallSemaphore(redis)
    assert semaphore.rebuild(1, attempts) == 1000
    assert semaphore.members(1) == set(attempts)
    assert semaphore.rebuild(1, []) == 0
    assert redis.exists(semaphore.key(1)) == 0
