"""Seeds that found something, to be played again before a release: ``make faults ARGS=found``.

A seed means its plan only as long as the decks of ``plan`` stay as they are. Whoever changes them looks for one that
finds the same again, with what was mended taken back, or leaves the entry to a test of its own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """A fault run that was broken once.

    Attributes:
        seed: of the run.
        leads: of the run.
        faults: of processes and servers.
        what: it found.
    """

    seed: int
    leads: int
    faults: int
    what: str


FOUND = (
    Found(5, 300, 40, "workers ended for good where Valkey was away at the moment at which their loop began anew"),
)
