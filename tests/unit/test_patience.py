"""Who waits for a Redis that is silent: one at a time, and only where nothing is lost if it does not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from switchboard_core.redis import ONE_ASKS_FOR_S, SILENT_FOR_S, Patience
from waiting import await_true


class HeldClock:
    """Goes on only where a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def patience(clock: HeldClock) -> Patience:
    return Patience(clock)


def tell(patience: Patience, failure: BaseException | None = None) -> bool:
    """Tell Redis something, which may fail; returns whether it was begun."""
    begun = False
    try:
        with patience.telling():
            begun = True
            if failure is not None:
                raise failure
    except (RedisTimeoutError, RedisConnectionError, InterruptedError):
        pass
    return begun


def silence(patience: Patience) -> bool:
    return tell(patience, RedisTimeoutError("Timeout reading from socket"))


def test_after_one_has_waited_in_vain_nobody_else_does_for_a_while(patience: Patience, clock: HeldClock) -> None:
    assert tell(patience)
    assert silence(patience)
    assert not tell(patience)
    clock.seconds += SILENT_FOR_S - 0.1
    assert not tell(patience)
    clock.seconds += 0.1
    assert tell(patience)


def test_what_is_not_begun_fails_as_if_it_had_waited(patience: Patience) -> None:
    silence(patience)
    with pytest.raises(RedisTimeoutError, match="did not answer a moment ago"), patience.telling():
        pytest.fail("was begun")


def test_an_answer_lets_all_tell_again(patience: Patience, clock: HeldClock) -> None:
    silence(patience)
    clock.seconds += SILENT_FOR_S
    assert [tell(patience) for _ in range(3)] == [True] * 3


def test_one_that_waits_in_vain_again_begins_the_while_anew(patience: Patience, clock: HeldClock) -> None:
    silence(patience)
    for _ in range(3):
        clock.seconds += SILENT_FOR_S
        assert silence(patience)
        assert not tell(patience)


def test_a_redis_that_refuses_is_asked_each_time_since_nobody_waits_for_it(patience: Patience) -> None:
    assert [tell(patience, RedisConnectionError("refused")) for _ in range(3)] == [True] * 3


def test_only_one_of_many_threads_finds_out_whether_it_answers_again(patience: Patience, clock: HeldClock) -> None:
    silence(patience)
    clock.seconds += SILENT_FOR_S
    others_are_done = threading.Event()

    def find_out() -> bool:
        try:
            with patience.telling():
                return others_are_done.wait(20)
        except RedisTimeoutError:
            return False

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(find_out) for _ in range(8)]
        await_true(lambda: sum(one.done() for one in waiting) == 7, "all but one to give up")
        others_are_done.set()
    assert sum(one.result() for one in waiting) == 1


def test_one_that_is_interrupted_while_it_finds_out_leaves_it_to_another(patience: Patience, clock: HeldClock) -> None:
    silence(patience)
    clock.seconds += SILENT_FOR_S
    assert tell(patience, InterruptedError("the job's time is up"))
    assert not tell(patience)
    clock.seconds += ONE_ASKS_FOR_S
    assert tell(patience)
    assert tell(patience)
