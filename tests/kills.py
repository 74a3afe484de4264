"""Outages at seeded points of a campaign: who is killed with ``kill -9`` when, and when it comes back.

Points are counted in attempts that were admitted, so they follow what really happens and not the clock.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from stack import Stack


@dataclass(frozen=True)
class Outage:
    """Processes die together and come back together.

    Attributes:
        at: attempts that have been admitted when they are killed.
        back_at: attempts that have been admitted when they are started again; ``at``: at once.
        victims: names of the stack's processes.
    """

    at: int
    back_at: int
    victims: tuple[str, ...]

    def __str__(self) -> str:
        return f"{'+'.join(self.victims)} at {self.at}, back at {self.back_at}"


def plan_outages(seed: int, singles: Sequence[str], *, within: range) -> list[Outage]:
    """Kill one process after the other, in any order, and somewhere among them all of them at once.

    Outages never overlap, and whoever dies alone leaves the others alive: a campaign goes on meanwhile.

    Args:
        seed: decides everything.
        singles: names of the stack's processes, each as often as it dies on its own.
        within: attempts that the campaign admits for certain.
    """
    dice = random.Random(seed)
    groups: list[tuple[str, ...]] = [(victim,) for victim in singles]
    dice.shuffle(groups)
    groups.insert(dice.randrange(len(groups) + 1), tuple(dict.fromkeys(singles)))
    points = sorted(dice.sample(within, len(groups)))
    outages = []
    for index, (at, group) in enumerate(zip(points, groups, strict=True)):
        following = points[index + 1] if index + 1 < len(points) else within.stop
        # With everything down nothing is admitted: they come back at once.
        back_at = at if len(group) > 1 else at + dice.randrange(min(6, following - at))
        outages.append(Outage(at, back_at, group))
    return outages


def run_outages(stack: Stack, outages: Sequence[Outage], admitted: Callable[[], int]) -> Iterator[Outage]:
    """Kill and restart as planned; yields each outage once its victims have been started again.

    Args:
        stack: a running campaign's.
        outages: in the order of their points.
        admitted: counts the attempts so far.
    """
    for outage in outages:
        _await_attempt(stack, outage.at, admitted)
        for name in outage.victims:
            stack.processes[name].kill()
        _await_attempt(stack, outage.back_at, admitted)
        for name in outage.victims:
            stack.processes[name].start()
        yield outage


def _await_attempt(stack: Stack, number: int, admitted: Callable[[], int]) -> None:
    stack.await_true(lambda: admitted() >= number, f"attempt {number}", 60)


@contextmanager
def counting_attempts(stack: Stack) -> Iterator[Callable[[], int]]:
    """Counts admitted attempts over one connection: it is asked often, and logging in is dear."""
    url = stack.urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url, autocommit=True) as connection:

        def admitted() -> int:
            row = connection.execute("SELECT count(*) FROM call_attempts").fetchone()
            assert row is not None
            return int(row[0])

        yield admitted
