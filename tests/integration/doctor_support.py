"""Looking at a system with the doctor, and keeping count of the rules that its tests break."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from integration.calls_support import CallsBench
from switchboard_core.doctor.examine import Diagnosis, Scope, examine
from switchboard_core.doctor.rules import Rule

P = ParamSpec("P")

BROKEN_BY_TESTS: set[Rule] = set()
"""Rules that a test says it breaks."""

_seen: set[Rule] = set()


def look(bench: CallsBench, *, carrier: bool = False) -> Diagnosis:
    """Look twice, at once."""
    diagnosis = examine(bench.runtime, Scope(ask_carrier=carrier), within_s=0)
    _seen.update(finding.rule for finding in diagnosis.findings)
    return diagnosis


def breaks(rule: Rule) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Says which rule a test breaks; it fails if it has not seen it broken."""
    BROKEN_BY_TESTS.add(rule)

    def claim(test: Callable[P, None]) -> Callable[P, None]:
        @wraps(test)
        def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            _seen.clear()
            test(*args, **kwargs)
            assert rule in _seen, f"{rule} was not broken"

        return checked

    return claim
