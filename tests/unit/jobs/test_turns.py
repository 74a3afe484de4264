"""How a worker's time is shared between its first queue and the others."""

import random

import pytest

from switchboard_core.jobs.rq_worker import MOST_AHEAD_S, Turns


def test_the_first_queue_is_looked_into_first_where_they_are_even() -> None:
    turns = Turns()
    seen = [turns.others_first]
    for on_first in (True, False):
        turns.worked(0.2, on_first=on_first)
        seen.append(turns.others_first)
    assert seen == [False, True, False]


@pytest.mark.parametrize(("first_s", "others_s"), [(0.2, 0.2), (0.1, 2.0), (2.0, 0.05), (0.02, 0.2)])
def test_while_both_have_work_each_gets_half_of_the_time(first_s: float, others_s: float) -> None:
    turns, spent = Turns(), {True: 0.0, False: 0.0}
    dice = random.Random(1)
    for _ in range(10_000):
        on_first = not turns.others_first
        seconds = (first_s if on_first else others_s) * dice.uniform(0.5, 1.5)
        turns.worked(seconds, on_first=on_first)
        spent[on_first] += seconds
    assert spent[True] / sum(spent.values()) == pytest.approx(0.5, abs=0.05)


def test_who_had_nothing_to_do_for_an_hour_is_owed_no_hour() -> None:
    turns = Turns()
    for _ in range(3600):
        turns.worked(1.0, on_first=False)
    owed = 0.0
    while not turns.others_first:
        turns.worked(0.5, on_first=True)
        owed += 0.5
    assert owed <= MOST_AHEAD_S + 0.5
