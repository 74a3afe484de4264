"""What becomes of a create call: what the carrier answers, if anything, and where the process around it ends."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from switchboard_core.failpoints import Point

_ANSWERS = {
    None: "answered",
    "create_lose_answer": "call placed, answer lost",
    "create_hang": "call placed, no answer until the timeout",
    "create_5xx_after": "call placed, answered 500",
    "create_5xx_before": "nothing placed, answered 503",
    "create_429": "nothing placed, answered 429",
}
_CRASHES: dict[Point, str] = {
    "before_look": "crash before the last look",
    "before_send": "crash between the last look and the send",
    "before_answer": "crash between the send and the answer",
    "before_answer_is_saved": "crash before the answer is saved",
}

# Of a hundred create calls, so many. Those that hang are few: each takes a timeout.
_DECK: tuple[tuple[str | None, Point | None, int], ...] = (
    ("create_lose_answer", None, 12),
    ("create_hang", None, 3),
    ("create_5xx_after", None, 12),
    ("create_5xx_before", None, 10),
    ("create_429", None, 8),
    (None, "before_look", 10),
    (None, "before_send", 10),
    (None, "before_answer", 14),
    ("create_429", "before_answer", 3),
    (None, "before_answer_is_saved", 10),
    ("create_lose_answer", "before_answer_is_saved", 2),
    ("create_5xx_after", "before_answer_is_saved", 3),
    ("create_429", "before_answer_is_saved", 3),
)
_ONCE_MORE = 0.125

# Half of what would tell the end of a call never comes: then the carrier has to be asked.
_CALLBACKS = {
    "callback_lose": 0.5,
    "callback_duplicate": 0.1,
    "callback_delay": 0.1,
    "callback_delay_seconds": 0.5,
    "callback_reorder": 0.1,
    "callback_hold_seconds": 0.3,
}


@dataclass(frozen=True)
class Fate:
    """What becomes of one create call.

    Attributes:
        answer: the fault of the carrier, by its name at the simulator; None: it takes the call and says so.
        crash: the failpoint at which the process ends; None: it goes on.
        once_more: the same request comes to the last look again, as from a library that retries or a task run twice.
        seed: of what goes wrong with callbacks.
    """

    answer: str | None
    crash: Point | None
    once_more: bool = False
    seed: int = 0

    def __str__(self) -> str:
        if self.crash is None:
            return _ANSWERS[self.answer]
        after_the_send = self.crash in {"before_answer", "before_answer_is_saved"}
        return f"{_CRASHES[self.crash]} ({_ANSWERS[self.answer]})" if after_the_send else _CRASHES[self.crash]

    @property
    def faults(self) -> dict[str, float]:
        """What the simulator is told to do until the next create call."""
        return {"seed": self.seed, **_CALLBACKS, **({self.answer: 1.0} if self.answer else {})}


KINDS = tuple(str(Fate(answer, crash)) for answer, crash, _ in _DECK)


def fates(seed: int) -> Iterator[Fate]:
    """The fates of the create calls of a run, one after the other, without end: whole decks, each shuffled."""
    dice = random.Random(f"{seed}:create calls")
    while True:
        deck = [(answer, crash) for answer, crash, cards in _DECK for _ in range(cards)]
        dice.shuffle(deck)
        for answer, crash in deck:
            once_more = dice.random() < _ONCE_MORE
            # Before its look nothing is marked: once more would be the first time.
            yield Fate(answer, crash, once_more and crash != "before_look", dice.getrandbits(31))
