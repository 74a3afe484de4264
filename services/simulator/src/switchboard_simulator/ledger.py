"""What the simulator saw: the figures that tests hold against what the product claims."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from pydantic import BaseModel, Field

from switchboard_simulator.calls import Call, CallStatus
from switchboard_simulator.faults import CreateFate

# A report names them all, also those that have not happened.
_CREATES = ("rejected", *CreateFate)
_CALLBACKS = ("sent", "delivered", "refused", "unreachable", "retried", "lost", "duplicated", "delayed", "reordered")
_RECORDINGS = ("completed", "absent", "downloads", "asked_too_early", "cut")


@dataclass(slots=True)
class Level:
    """Something that rises and falls, and the highest it has been."""

    now: int = 0
    peak: int = 0

    def rise(self) -> None:
        """One more."""
        self.now += 1
        self.peak = max(self.peak, self.now)

    def fall(self) -> None:
        """One less."""
        self.now -= 1


class Concurrency(BaseModel):
    """The most calls that were live at once, each from the accepted create call to its end."""

    account: dict[str, int] = Field(description="per account sid")
    business: dict[str, int] = Field(description="per `business` in the query of the status callback's URL")
    caller: dict[str, int] = Field(description="per `From` number")
    number: int = Field(description="to any single `To` number")


class Report(BaseModel):
    """Everything counted since the start or the last reset."""

    calls: int = Field(description="create calls that made a call, whatever answer the client got")
    live: int = Field(description="calls that have not ended")
    calls_by_status: dict[str, int]
    calls_by_number: dict[str, int]
    calls_by_attempt: dict[str, int] = Field(description="per `attempt` in the query of the status callback's URL")
    attempts_called_more_than_once: list[str]
    concurrent_max: Concurrency
    creates: dict[str, int] = Field(
        description="answers to create calls: answered (201), rejected (another 4xx), answered_429, "
        "answered_5xx_before (no call), answered_5xx_after, answer_lost and hung (a call happened)"
    )
    callbacks: dict[str, int] = Field(
        description="sent, delivered (2xx), refused (any other answer), unreachable (no answer, also not to the "
        "retry), retried, and by fault: lost, duplicated, delayed, reordered"
    )
    recordings: dict[str, int] = Field(
        description="completed, absent; of media: downloads, asked_too_early (404) and cut (by fault)"
    )


class Ledger:
    """Counts calls, callbacks and answers. Pure bookkeeping: it is told what happened."""

    def __init__(self) -> None:
        self.creates: Counter[str] = Counter()
        self.callbacks: Counter[str] = Counter()
        self.recordings: Counter[str] = Counter()
        self.statuses: Counter[CallStatus] = Counter()
        self._numbers: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._live = Level()
        self._account_levels: defaultdict[str, Level] = defaultdict(Level)
        self._business_levels: defaultdict[str, Level] = defaultdict(Level)
        self._caller_levels: defaultdict[str, Level] = defaultdict(Level)
        self._number_levels: defaultdict[str, Level] = defaultdict(Level)

    @property
    def live(self) -> int:
        """Calls that have not ended."""
        return self._live.now

    def call_accepted(self, call: Call) -> None:
        """A create call made this call."""
        self._numbers[call.request.to] += 1
        if (attempt := call.request.label("attempt")) is not None:
            self._attempts[attempt] += 1
        self.statuses[call.status] += 1
        for level in self._levels(call):
            level.rise()

    def call_moved(self, call: Call, before: CallStatus) -> None:
        """This call went on to its next state."""
        self.statuses[before] -= 1
        self.statuses[call.status] += 1
        if not call.live:
            for level in self._levels(call):
                level.fall()

    def _levels(self, call: Call) -> list[Level]:
        request = call.request
        levels = [
            self._live,
            self._account_levels[call.account_sid],
            self._caller_levels[request.from_],
            self._number_levels[request.to],
        ]
        if (business := request.label("business")) is not None:
            levels.append(self._business_levels[business])
        return levels

    def report(self) -> Report:
        """Return the figures so far."""
        return Report(
            calls=self._numbers.total(),
            live=self._live.now,
            calls_by_status={status.value: n for status, n in self.statuses.items() if n},
            calls_by_number=dict(self._numbers),
            calls_by_attempt=dict(self._attempts),
            attempts_called_more_than_once=sorted(attempt for attempt, n in self._attempts.items() if n > 1),
            concurrent_max=Concurrency(
                account=_peaks(self._account_levels),
                business=_peaks(self._business_levels),
                caller=_peaks(self._caller_levels),
                number=max(_peaks(self._number_levels).values(), default=0),
            ),
            creates=dict.fromkeys(_CREATES, 0) | self.creates,
            callbacks=dict.fromkeys(_CALLBACKS, 0) | self.callbacks,
            recordings=dict.fromkeys(_RECORDINGS, 0) | self.recordings,
        )


def _peaks(levels: dict[str, Level]) -> dict[str, int]:
    return {name: level.peak for name, level in levels.items()}
