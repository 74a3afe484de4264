"""How far a sorting is, and how long it waits for a mail server that is away."""

import random
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Patience:
    """How long a mail server that is away is waited for.

    Attributes:
        first_s: pause after the first failure, in seconds; then it doubles.
        longest_s: longest pause, in seconds.
        tries: failures in a row after which the task fails.
    """

    first_s: float = 5.0
    longest_s: float = 300.0
    tries: int = 8

    def pause_s(self, failures: int) -> float:
        """The pause after so many failures in a row, in seconds, between half and all of its length."""
        return min(self.longest_s, self.first_s * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load


@dataclass
class Progress:
    """The cursor: how far the sorting is, and what came of it so far.

    Attributes:
        uidvalidity: what the uids below belong to; None before the first look.
        after_uid: the last message that is done with.
        up_to_uid: the last one that was there at the start.
        seen: messages that are done with.
        failures: of the connection, in a row and without progress between them.
        moved: messages by the folder that they were moved to.
        marked: messages that were only marked as read.
        unmatched: messages that no rule takes.
        known: messages that were sorted before, so that somebody has put them back.
        gone: messages that somebody else took away meanwhile.
        bounces: mails of ours that came back.
    """

    uidvalidity: int | None = None
    after_uid: int = 0
    up_to_uid: int = 0
    seen: int = 0
    failures: int = 0
    moved: dict[str, int] = field(default_factory=dict)
    marked: int = 0
    unmatched: int = 0
    known: int = 0
    gone: int = 0
    bounces: int = 0

    def result(self) -> dict[str, Any]:
        """What to show with the finished task."""
        found = asdict(self)
        return {name: found[name] for name in ("moved", "marked", "unmatched", "known", "gone", "bounces")}
