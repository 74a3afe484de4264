"""Places at which a test may stop, kill or hold a process: ``reach("before_send")``. Always off, but in tests.

Off, ``reach`` is one comparison. It is switched on by two variables of the environment together, so that neither a
forgotten one nor a copied line does it:

    SWITCHBOARD_FAILPOINTS="before_send=stop;before_answer=wait:/tmp/gate"
    SWITCHBOARD_FAILPOINTS_IN_A_TEST="yes, this process may be killed"

With the first alone, or with a carrier that is not on loopback, the process refuses to start. When they are on, that is
the first line of its log, and each firing is a line too.

A point fires once, the first time it is reached; ``before_send=kill@3`` fires the third time. Actions:

- ``kill``: SIGKILL to the process itself;
- ``stop``: SIGSTOP to the process itself; whoever sends SIGCONT lets it go on;
- ``raise``: ``FailpointError``;
- ``wait:PATH``: makes the file ``PATH.reached``, and goes on when the file ``PATH`` is there.
"""

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings, SettingsError

log = get_logger(__name__)

VARIABLE = "SWITCHBOARD_FAILPOINTS"
CONSENT_VARIABLE = "SWITCHBOARD_FAILPOINTS_IN_A_TEST"
CONSENT = "yes, this process may be killed"

Point = Literal[
    "after_claim",
    "in_open_transaction",
    "after_slice_commit",
    "after_attempt_commit",
    "before_look",
    "before_send",
    "before_answer",
    "before_answer_is_saved",
    "before_pump_gives_up",
]
"""Where code may be held:

- ``after_claim``: a background job is claimed, its slice has not begun;
- ``in_open_transaction``: a slice has done its work and has not committed it;
- ``after_slice_commit``: it has, and RQ does not know yet;
- ``after_attempt_commit``: a call is admitted and nothing of it was sent;
- ``before_look``: the connection to the carrier stands, the last look comes next;
- ``before_send``: the attempt is marked as sent, its first byte leaves next;
- ``before_answer``: the create call (or message) has left, its answer is read next;
- ``before_answer_is_saved``: the answer was read and is in no row yet;
- ``before_pump_gives_up``: the pump found nothing to admit and returns next.
"""

POINTS: frozenset[str] = frozenset(get_args(Point))
_POLL_S = 0.01


class FailpointsRefusedError(SettingsError):
    """Failpoints are switched on where they must not be, or wrongly; the message says what to do."""


class FailpointError(Exception):
    """What the action ``raise`` raises."""


@dataclass
class Failpoint:
    """What happens at a point, the ``nth`` time that it is reached.

    Attributes:
        action: ``kill``, ``stop``, ``raise`` or ``wait``.
        gate: the file that ``wait`` waits for.
        nth: 1 for the first time.
    """

    action: str
    gate: Path | None = None
    nth: int = 1
    _left: int = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._left = self.nth

    def fires(self) -> bool:
        """Whether this is the time."""
        with self._lock:
            self._left -= 1
            return self._left == 0


_armed: dict[str, Failpoint] | None = None


def reach(point: Point) -> None:
    """Say that the code has come to a point; nothing happens unless a test has armed it.

    Raises:
        FailpointError: the point is armed with ``raise``.
    """
    if _armed is None:
        return
    failpoint = _armed.get(point)
    if failpoint is not None and failpoint.fires():
        _fire(point, failpoint)


def arm(plan: Mapping[str, Failpoint] | None) -> None:
    """Arm points of this process, for tests that run the code themselves; None disarms all."""
    global _armed  # noqa: PLW0603 - one switch a process, read on hot paths
    _armed = dict(plan) if plan else None


def arm_from_environment(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Arm what the environment names; a service calls it at its start. Without the variable it does nothing.

    Raises:
        FailpointsRefusedError: the consent is missing, the carrier is a real one, or the plan is wrong.
    """
    words = environment.get(VARIABLE, "")
    if not words:
        return
    if environment.get(CONSENT_VARIABLE) != CONSENT:
        msg = f"{VARIABLE} is for tests: it kills and stops processes on purpose. Remove it from the environment."
        raise FailpointsRefusedError(msg)
    if urlsplit(settings.twilio_base_url).hostname not in {"127.0.0.1", "::1", "localhost"}:
        msg = f"{VARIABLE} is refused: the carrier is not a simulator on this machine. Remove it from the environment."
        raise FailpointsRefusedError(msg)
    arm(parse(words))
    log.error("FAILPOINTS ARE ON: this process will kill or stop itself on purpose", failpoints=words)


def parse(words: str) -> dict[str, Failpoint]:
    """A plan such as ``before_send=stop;after_claim=kill@2``.

    Raises:
        FailpointsRefusedError: it cannot be read.
    """
    return dict(_parse_one(part.strip()) for part in words.split(";") if part.strip())


def _parse_one(part: str) -> tuple[str, Failpoint]:
    point, _, what = part.partition("=")
    what, _, nth = what.partition("@")
    action, _, gate = what.partition(":")
    known = (action in {"kill", "stop", "raise"} and not gate) or (action == "wait" and bool(gate))
    if point not in POINTS or not known or not (nth or "1").isdecimal() or int(nth or "1") < 1:
        msg = (
            f"{VARIABLE}: {part!r} is no failpoint. Write point=kill, point=stop, point=raise or point=wait:/file, "
            f"with @n for the nth time; points are {', '.join(sorted(POINTS))}."
        )
        raise FailpointsRefusedError(msg)
    return point, Failpoint(action, Path(gate) if gate else None, int(nth or "1"))


def _fire(point: str, failpoint: Failpoint) -> None:
    log.error("FAILPOINT", point=point, action=failpoint.action)
    match failpoint.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            msg = f"failpoint {point}"
            raise FailpointError(msg)
        case _:
            assert failpoint.gate is not None
            failpoint.gate.with_name(f"{failpoint.gate.name}.reached").touch()
            while not failpoint.gate.exists():
                time.sleep(_POLL_S)
