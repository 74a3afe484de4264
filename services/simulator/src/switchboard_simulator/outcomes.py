"""How callees behave: scripted per number, otherwise a mix that depends only on seed, number and nth call."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from switchboard_simulator.speech_library import Clip, clip_named, clips

Seconds = Annotated[float, Field(ge=0, le=86_400)]
AnsweredBy = Literal[
    "human", "fax", "unknown", "machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other"
]


class OutcomeKind(StrEnum):
    """What becomes of a call."""

    ANSWER = "answer"
    MACHINE = "machine"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAIL = "fail"
    REJECT = "reject"


class Outcome(BaseModel):
    """One scripted outcome; what is left out comes from the settings.

    Attributes:
        outcome: ``reject`` refuses the create call itself; all others happen to a call that was created.
        error_code: of a rejection (21211, 21214, 21217, 13224 …) or of a failed call.
        answered_by: overrides what machine detection finds.
        recording: ``too_short`` and ``silent`` make it ``absent``, with 16101 and 16102.
        clip: name of the WAV file that is the recording.
        recording_seconds: from the end of the call to the recording's callback.
        media_seconds: from that callback until the media can be fetched.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: OutcomeKind = OutcomeKind.ANSWER
    ring_seconds: Seconds | None = None
    talk_seconds: Seconds | None = None
    answered_by: AnsweredBy | None = None
    error_code: int | None = None
    recording: Literal["speech", "too_short", "silent"] = "speech"
    clip: str | None = None
    recording_seconds: Seconds | None = None
    media_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _clip_exists(self) -> Self:
        if self.clip is not None:
            try:
                clip_named(self.clip)
            except KeyError as error:
                raise ValueError(str(error.args[0])) from error
        return self


class NumberPattern(BaseModel):
    """The numbers that a script is about; without ``number``, ``prefix`` and ``suffix`` it is about all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: str | None = None
    prefix: str = ""
    suffix: str = ""

    def matches(self, number: str) -> bool:
        """Tell whether this script is about a number."""
        if self.number is not None:
            return number == self.number
        return number.startswith(self.prefix) and number.endswith(self.suffix)

    @property
    def precision(self) -> tuple[bool, int]:
        """How narrow the script is: a whole number beats a pattern, a long pattern a short one."""
        return (self.number is not None, len(self.prefix) + len(self.suffix))


class Script(NumberPattern):
    """Outcomes for the numbers that match.

    The nth call to a number gets the nth outcome, and every call after that the last one. A single outcome may be
    written without the list: ``{"number": "+14155550100", "outcome": "busy"}``.
    """

    outcomes: tuple[Outcome, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _single_outcome(cls, data: Any) -> Any:  # noqa: ANN401 (whatever the JSON was)
        if not isinstance(data, Mapping) or "outcomes" in data:
            return data
        matchers = {key: value for key, value in data.items() if key in NumberPattern.model_fields}
        return {**matchers, "outcomes": [{key: value for key, value in data.items() if key not in matchers}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An outcome with nothing left open. Times are in seconds."""

    kind: OutcomeKind
    ring: float
    talk: float
    clip: Clip
    answered_by: str | None = None
    error_code: int | None = None
    absent: Literal["too_short", "silent"] | None = None
    recording_delay: float = 0.0
    media_delay: float = 0.0


class Habits(BaseModel):
    """How callees behave unless a script says otherwise. Times are in seconds.

    Attributes:
        seed: of everything that is left to chance.
        mix: weights of the outcomes of unscripted calls.
        spread: unscripted times vary by this share, up and down.
        ring_seconds: from ringing to the callee's reaction.
        talk_seconds: length of a conversation.
        recording_seconds: from the end of a call to the recording's callback.
        media_seconds: from that callback until the media can be fetched.
    """

    model_config = ConfigDict(frozen=True)

    seed: int = 0
    mix: Mapping[OutcomeKind, Annotated[float, Field(ge=0)]] = Field(
        default={
            OutcomeKind.ANSWER: 70,
            OutcomeKind.MACHINE: 10,
            OutcomeKind.BUSY: 8,
            OutcomeKind.NO_ANSWER: 8,
            OutcomeKind.FAIL: 4,
        }
    )
    spread: float = Field(default=0.3, ge=0, le=1)
    ring_seconds: Seconds = 0.3
    talk_seconds: Seconds = 1.0
    recording_seconds: Seconds = 0.1
    media_seconds: Seconds = 0.0

    @field_validator("mix")
    @classmethod
    def _something_happens(cls, mix: Mapping[OutcomeKind, float]) -> Mapping[OutcomeKind, float]:
        if sum(mix.values()) <= 0:
            raise ValueError("at least one weight must be above 0")
        return mix


class OutcomeBook:
    """Decides, call by call, what the callee does.

    Args:
        habits: defaults, the mix and its seed.
    """

    def __init__(self, habits: Habits) -> None:
        self._habits = habits
        self._scripts: list[Script] = []
        self._taken: dict[int, Counter[str]] = defaultdict(Counter)
        self._calls: Counter[str] = Counter()

    def add(self, script: Script) -> None:
        """Follow a script from now on; of two that are equally narrow the newer one counts."""
        self._scripts.append(script)

    def plan(self, number: str) -> Plan:
        """Return what happens to the next call to a number, and count that call."""
        nth = self._calls[number]
        self._calls[number] += 1
        draws = _draws(self._habits.seed, number, nth)
        outcome = self._scripted(number)
        if outcome is None:
            return self._unscripted(draws)
        return self._complete(outcome, draws, spread=0.0)

    def _scripted(self, number: str) -> Outcome | None:
        found = [(s.precision, at) for at, s in enumerate(self._scripts) if s.matches(number)]
        if not found:
            return None
        _, at = max(found)
        nth = self._taken[at][number]
        self._taken[at][number] += 1
        outcomes = self._scripts[at].outcomes
        return outcomes[min(nth, len(outcomes) - 1)]

    def _unscripted(self, draws: tuple[float, ...]) -> Plan:
        mix = self._habits.mix
        point = draws[0] * sum(mix.values())
        kind = OutcomeKind.ANSWER
        for candidate, weight in mix.items():
            if weight > 0:
                kind = candidate
                point -= weight
            if point < 0:
                break
        return self._complete(Outcome(outcome=kind), draws, spread=self._habits.spread)

    def _complete(self, outcome: Outcome, draws: tuple[float, ...], *, spread: float) -> Plan:
        habits = self._habits

        def pick(scripted: float | None, usual: float, draw: float) -> float:
            return usual * (1 + spread * (2 * draw - 1)) if scripted is None else scripted

        machine = outcome.outcome is OutcomeKind.MACHINE
        suitable = [clip for clip in clips() if clip.greeting == machine]
        clip = clip_named(outcome.clip) if outcome.clip else suitable[int(draws[3] * len(suitable))]
        return Plan(
            kind=outcome.outcome,
            ring=pick(outcome.ring_seconds, habits.ring_seconds, draws[1]),
            talk=pick(outcome.talk_seconds, habits.talk_seconds, draws[2]),
            clip=clip,
            answered_by=outcome.answered_by,
            error_code=outcome.error_code,
            absent=None if outcome.recording == "speech" else outcome.recording,
            recording_delay=pick(outcome.recording_seconds, habits.recording_seconds, 0.5),
            media_delay=pick(outcome.media_seconds, habits.media_seconds, 0.5),
        )


def _draws(seed: int, number: str, nth: int) -> tuple[float, ...]:
    """Return four numbers in [0, 1) that depend on nothing but the arguments."""
    digest = hashlib.sha256(f"{seed}:{number}:{nth}".encode()).digest()
    return tuple(int.from_bytes(digest[at : at + 6], "big") / 2**48 for at in range(0, 24, 6))
