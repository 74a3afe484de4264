"""What need not be read again, and what must be."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from switchboard_operator.kept import TRUSTED_S, Kept, objects_of, secret_named

ABOUT = objects_of(("calls", "main"), "Deployment")


class Server:
    """Answers with how often it was asked; ``meanwhile`` happens before an answer arrives."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.asked = 0
        self._meanwhile = meanwhile

    async def answer(self) -> int:
        self.asked += 1
        answer = self.asked
        await asyncio.sleep(0)
        self._meanwhile()
        return answer


def read(kept: Kept, ask: Callable[[], Awaitable[int]]) -> int:
    return asyncio.run(_read(kept, ask))


async def _read(kept: Kept, ask: Callable[[], Awaitable[int]]) -> int:
    return await kept.read(ABOUT, ask)


def test_the_same_is_asked_once() -> None:
    kept, server = Kept(), Server()

    assert [read(kept, server.answer), read(kept, server.answer)] == [1, 1]


def test_what_has_changed_is_asked_again() -> None:
    kept, server = Kept(), Server()
    read(kept, server.answer)

    kept.drop(objects_of(("calls", "other"), "Deployment"))
    kept.drop(objects_of(("calls", "main"), "Service"))
    kept.drop(secret_named("calls", "main"))
    before = read(kept, server.answer)
    kept.drop(ABOUT)

    assert (before, read(kept, server.answer)) == (1, 2)


def test_a_change_while_the_answer_is_on_its_way_makes_it_worthless() -> None:
    kept = Kept()
    server = Server(meanwhile=lambda: kept.drop(ABOUT))

    assert [read(kept, server.answer), read(kept, server.answer)] == [1, 2]


def test_a_question_without_an_answer_is_asked_again() -> None:
    kept, server = Kept(), Server()

    async def refuse() -> int:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        read(kept, refuse)

    assert read(kept, server.answer) == 1


def test_nothing_is_trusted_for_long_or_kept_for_ever() -> None:
    now = 0.0
    kept, server = Kept(lambda: now), Server()
    for number in range(100):
        asyncio.run(kept.read(objects_of(("calls", f"sb-{number}"), "Job"), server.answer))
    now = TRUSTED_S

    assert read(kept, server.answer) == 101
    assert len(kept) == 1


def test_a_new_leader_trusts_nothing() -> None:
    kept, server = Kept(), Server()
    read(kept, server.answer)
    kept.clear()

    assert read(kept, server.answer) == 2
