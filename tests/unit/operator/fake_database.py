"""The database of the fake cluster, and what each release's migrations do to it."""

from dataclasses import dataclass, field

from switchboard_operator import names


@dataclass
class Release:
    """What a release's migrations do: ``seq`` after expand, ``min_seq`` after contract; it needs ``needs``."""

    seq: int
    min_seq: int


@dataclass
class Database:
    """The schema, and everything that was done to it."""

    seq: int = 0
    min_seq: int = 0
    down: bool = False
    broken: set[str] = field(default_factory=set)
    runs: list[tuple[str, str]] = field(default_factory=list)

    def migrate(self, version: str, step: str, release: Release) -> tuple[int, str]:
        """Run a step; returns the exit code and the last words."""
        self.runs.append((version, step))
        if self.down:
            return 1, "The database cannot be reached."
        if release.seq < self.min_seq:
            return names.EXIT_INCOMPATIBLE, '{"ok": false, "reason": "This release is too old for the database."}'
        if step == "check":
            return (names.EXIT_PENDING, "pending") if self.seq < release.seq else (0, "")
        if version in self.broken and step == "expand":
            return 1, "Migration 105 failed."
        if step == "expand":
            self.seq = max(self.seq, release.seq)
        else:
            self.min_seq = max(self.min_seq, release.min_seq)
        return 0, ""


RELEASES = {
    "1.0.0": Release(seq=104, min_seq=100),
    "1.1.0": Release(seq=105, min_seq=104),
    "1.2.0": Release(seq=106, min_seq=105),
    "1.3.0": Release(seq=107, min_seq=106),
}
