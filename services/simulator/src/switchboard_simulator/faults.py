"""Faults: what goes wrong on the way, how often, and the seeded dice that decide each time."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=600)]


class Faults(BaseModel):
    """Probabilities (0 to 1) and times (seconds). All off by default.

    Attributes:
        seed: of the dice; the nth create call or callback always meets the same fate.
        callback_lose: never sent.
        callback_duplicate: sent twice, the second time up to ``callback_delay_seconds`` later.
        callback_delay: sent up to ``callback_delay_seconds`` late.
        callback_reorder: held until the next callback of the same call or message has gone out, or
            ``callback_hold_seconds``.
        create_lose_answer: the call or message happens, then the connection is closed without an answer.
        create_hang: the call happens, then nothing comes for ``create_hang_seconds``.
        create_429: nothing happens and the answer is 429 with code 20429.
        create_5xx_before: nothing happens and the answer is 503.
        create_5xx_after: the call happens and the answer is 500.
        create_slow: the request is worked ``create_slow_seconds`` late.
        query_5xx: fetching, listing or updating is answered 503 and nothing happens.
        media_cut: the connection is closed in the middle of a recording.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    callback_lose: Probability = 0.0
    callback_duplicate: Probability = 0.0
    callback_delay: Probability = 0.0
    callback_delay_seconds: Seconds = 1.0
    callback_reorder: Probability = 0.0
    callback_hold_seconds: Seconds = 1.0
    create_lose_answer: Probability = 0.0
    create_hang: Probability = 0.0
    create_hang_seconds: Seconds = 30.0
    create_429: Probability = 0.0
    create_5xx_before: Probability = 0.0
    create_5xx_after: Probability = 0.0
    create_slow: Probability = 0.0
    create_slow_seconds: Seconds = 1.0
    query_5xx: Probability = 0.0
    media_cut: Probability = 0.0

    @model_validator(mode="after")
    def _one_fate_a_create(self) -> Self:
        if sum(share for _, share in create_shares(self)) > 1 + 1e-9:
            raise ValueError("the create_* probabilities exclude each other: their sum must be at most 1")
        return self


class CreateFate(StrEnum):
    """What becomes of one create call."""

    ANSWERED = "answered"
    LOSE_ANSWER = "answer_lost"
    HANG = "hung"
    TOO_MANY = "answered_429"
    ERROR_BEFORE = "answered_5xx_before"
    ERROR_AFTER = "answered_5xx_after"


def create_shares(faults: Faults) -> list[tuple[CreateFate, float]]:
    """Return the fates that exclude each other, with their probabilities."""
    return [
        (CreateFate.LOSE_ANSWER, faults.create_lose_answer),
        (CreateFate.HANG, faults.create_hang),
        (CreateFate.TOO_MANY, faults.create_429),
        (CreateFate.ERROR_BEFORE, faults.create_5xx_before),
        (CreateFate.ERROR_AFTER, faults.create_5xx_after),
    ]


@dataclass(frozen=True, slots=True)
class CallbackFate:
    """What becomes of one callback. Times are in seconds; ``copy_after`` is nothing when there is no duplicate."""

    lost: bool = False
    held: bool = False
    delay: float = 0.0
    copy_after: float | None = None


class Dice:
    """Decides from the faults' seed; every kind of decision has dice of its own, so that they do not shift each other.

    Args:
        faults: probabilities, times and seed.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._creates = {"call": self._die("create"), "message": self._die("message")}
        self._slow = self._die("slow")
        self._callbacks = self._die("callback")
        self._queries = self._die("query")
        self._media = self._die("media")

    def _die(self, kind: str) -> Callable[[], float]:
        return random.Random(f"{self.faults.seed}:{kind}").random  # noqa: S311 (faults, not secrets)

    def create(self, what: Literal["call", "message"] = "call") -> CreateFate:
        """Decide about the next request that creates a call or a message."""
        point = self._creates[what]()
        for fate, share in create_shares(self.faults):
            point -= share
            if point < 0:
                return fate
        return CreateFate.ANSWERED

    def create_delay(self) -> float:
        """Return how many seconds late the next create call is worked."""
        return self.faults.create_slow_seconds if self._slow() < self.faults.create_slow else 0.0

    def callback(self) -> CallbackFate:
        """Decide about the next callback."""
        faults, roll = self.faults, self._callbacks
        # All six are rolled every time: the fate of the next callback must not depend on that of this one.
        lose, held, late, copy, late_by, copy_by = (roll() for _ in range(6))
        if lose < faults.callback_lose:
            return CallbackFate(lost=True)
        longest = faults.callback_delay_seconds
        return CallbackFate(
            held=held < faults.callback_reorder,
            delay=late_by * longest if late < faults.callback_delay else 0.0,
            copy_after=copy_by * longest if copy < faults.callback_duplicate else None,
        )

    def query_fails(self) -> bool:
        """Decide whether the next fetch, list or update is answered 503."""
        return self._queries() < self.faults.query_5xx

    def media_is_cut(self) -> bool:
        """Decide whether the next recording is cut off."""
        return self._media() < self.faults.media_cut
