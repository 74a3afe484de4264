"""One question to the database serves all pools for a moment."""

import pytest

from switchboard_api.runnable import RunnableWork


class Counting:
    """Counts how often it is asked, and answers with that."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 0.0

    def __call__(self) -> dict[str, int]:
        self.asked += 1
        return {"high": self.asked, "low": 10 * self.asked}

    def clock(self) -> float:
        return self.now


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def work(counting: Counting) -> RunnableWork:
    return RunnableWork(counting, keep_s=1.0, monotonic=counting.clock)


def test_the_work_of_a_pool_is_that_of_its_queues(work: RunnableWork) -> None:
    assert work.of(["high"]) == 1
    assert work.of(["high", "low"]) == 11
    assert work.of(["default"]) == 0


def test_a_queue_that_is_named_twice_counts_once(work: RunnableWork) -> None:
    assert work.of(["low", "low"]) == 10


def test_pools_that_are_asked_for_in_a_row_share_one_count(work: RunnableWork, counting: Counting) -> None:
    work.of(["high"])
    counting.now = 0.9
    assert work.of(["low"]) == 10
    assert counting.asked == 1


def test_a_count_is_forgotten_after_a_second(work: RunnableWork, counting: Counting) -> None:
    work.of(["high"])
    counting.now = 1.0
    assert work.of(["high"]) == 2


def test_a_count_that_fails_is_told_and_not_remembered() -> None:
    answers = iter([{}, {"high": 3}])

    def count() -> dict[str, int]:
        answer: dict[str, int] = next(answers)
        if not answer:
            msg = "the database is away"
            raise ConnectionError(msg)
        return answer

    work = RunnableWork(count)
    with pytest.raises(ConnectionError, match="away"):
        work.of(["high"])
    assert work.of(["high"]) == 3
