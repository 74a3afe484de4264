"""Plays a plan against a running scene, and watches what comes of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import httpx
import psycopg

import carrier_truth as truth
from faults import disturb
from faults.looks import look
from faults.plan import Fault
from faults.scene import Scene, owner_connection

LOOK_S = 0.1
SAY_EVERY_S = 5.0
CHECK_EVERY_S = 30.0
CALM_EVERY_S = 90.0
"""Without a check for so long, the next fault waits for one: it needs a moment at which no fault lasts."""
STANDSTILL_S = 180.0
"""Nothing settles for so long although every fault is over: something is lost."""


@dataclass
class Happened:
    """A fault that was played. Times are seconds since the epoch.

    Attributes:
        began_at: when it was let happen.
        over_at: when it was taken back.
        ready_at: when whoever was started again could work.
    """

    fault: Fault
    began_at: float
    over_at: float | None = None
    ready_at: float | None = None
    starting: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """How far the run is: attempts admitted and settled, and call jobs that have ended."""

    admitted: int = 0
    settled: int = 0
    ended: int = 0


@dataclass
class Watch:
    """Looks at the rows over one connection, which it makes anew after PostgreSQL was restarted."""

    scene: Scene
    last: Progress = field(default_factory=Progress)
    _connection: "psycopg.Connection[object] | None" = None

    def look(self) -> Progress:
        """The progress now; that of the last look where PostgreSQL is away."""
        try:
            if self._connection is None:
                self._connection = owner_connection(self.scene.stack.urls)
            row = self._connection.execute(
                "SELECT count(*), count(settled_at), "
                "(SELECT count(*) FROM outbound_call_jobs WHERE finished_at IS NOT NULL) FROM call_attempts"
            ).fetchone()
        except psycopg.OperationalError:
            self.close()
            return self.last
        assert isinstance(row, tuple)
        self.last = Progress(*row)
        return self.last

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Player:
    """Plays a plan.

    Args:
        scene: with its campaigns under way.
        jobs: call jobs in all, for the live line.
        say: takes a line for people.
        clock: seconds that only go forward.
        sleep: lets some of them pass.

    Attributes:
        happened: the faults so far.
        looks: how often the invariants were checked while calls went on.
    """

    def __init__(
        self,
        scene: Scene,
        jobs: int,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._scene = scene
        self._jobs = jobs
        self._say = say
        self._clock, self._sleep = clock, sleep
        self._watch = Watch(scene)
        # Plain HTTP: without the certificates, which take longer to load than the question to answer.
        self._probe = httpx.Client(timeout=0.5, trust_env=False, verify=False)
        self.happened: list[Happened] = []
        self.looks = 0
        self._began = self._said = self._checked = self._moved = clock()
        self._seen = Progress()

    def play(self, plan: Sequence[Fault]) -> list[Happened]:
        """Let every fault happen at its moment, and be over; returns what happened, and when.

        Raises:
            AssertionError: an invariant is broken, or nothing moves any more.
        """
        for fault in plan:
            self._until(partial(self._is_due, fault))
            self._until(partial(self._is_clear, fault))
            disturb.begin(self._scene, fault)
            self.happened.append(Happened(fault, time.time()))
        self._until(lambda: not self._open())
        self._look()
        return self.happened

    def until_the_end(self, timeout_s: float) -> None:
        """Wait until every run has ended, the carrier is quiet and every recording is where it belongs.

        Raises:
            AssertionError: an invariant is broken, nothing moves any more, or the rest takes longer than it may.
        """
        stack = self._scene.stack
        open_runs = "SELECT count(*) FROM outbound_call_runs WHERE finished_at IS NULL"
        self._until(lambda: self._watch.look().ended >= self._jobs and stack.value(open_runs) == 0)
        deadline = self._clock() + timeout_s
        while not (stack.sim("GET", "idle?timeout=5")["idle"] and truth.recordings_settled(stack)):
            self._tick()
            if self._clock() > deadline:
                raise AssertionError(f"the carrier or the recordings did not come to rest within {timeout_s:g} s")
            self._sleep(LOOK_S)

    def close(self) -> None:
        """Close the connections."""
        self._probe.close()
        self._watch.close()

    def _is_due(self, fault: Fault) -> bool:
        return bool(getattr(self._watch.look(), fault.counted) >= fault.at)

    def _open(self) -> list[Happened]:
        return [item for item in self.happened if item.ready_at is None]

    def _is_clear(self, fault: Fault) -> bool:
        """Whether a check is not overdue, and no earlier fault lasts that concerns the same process or server."""
        if self._clock() - self._checked > CALM_EVERY_S:
            return False
        return not any(set(item.fault.targets) & set(fault.targets) for item in self._open())

    def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._tick()
            if self._clock() - self._moved > STANDSTILL_S:
                raise AssertionError(f"nothing has moved for {STANDSTILL_S:g} s: {self._seen}")
            self._sleep(LOOK_S)

    def _tick(self) -> None:
        for item in self._open():
            self._bring_to_its_end(item)
        now, clock = self._watch.look(), self._clock()
        if now != self._seen or self._open():
            self._seen, self._moved = now, clock
        if clock - self._said > SAY_EVERY_S:
            self._said = clock
            self._say(self._line(now, clock))
        if clock - self._checked > CHECK_EVERY_S and not self._open():
            self._look()

    def _look(self) -> None:
        began = self._clock()
        look(self._scene)
        self.looks += 1
        self._checked = self._clock()
        # A look is no movement, else nothing would ever be taken for lost; its own time is nobody's standstill.
        self._moved += self._checked - began

    def _bring_to_its_end(self, item: Happened) -> None:
        now = time.time()
        if item.over_at is None:
            if now - item.began_at < item.fault.lasts_s:
                return
            item.starting = disturb.end(self._scene, item.fault)
            item.over_at = time.time()
        item.starting = [name for name in item.starting if not self._is_ready(name)]
        if not item.starting:
            item.ready_at = time.time()

    def _is_ready(self, name: str) -> bool:
        try:
            return self._probe.get(self._scene.stack.ready_urls[name]).is_success
        except httpx.HTTPError:
            return False

    def _line(self, now: Progress, clock: float) -> str:
        lasting = ", ".join(f"{item.fault.kind} ({' + '.join(item.fault.targets)})" for item in self._open())
        return (
            f"{clock - self._began:6.0f} s  {now.ended:,} of {self._jobs:,} jobs ended, "
            f"{now.admitted - now.settled} calls live, {len(self.happened)} faults"
            + (f"; now: {lasting}" if lasting else "")
        )
