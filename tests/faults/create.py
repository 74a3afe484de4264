"""Thousands of create calls, none of which goes well: each is answered wrongly or not at all, or its process ends.

They go the product's own way: the pump admits and dials, through the ``twilio`` package, against the simulator. A crash
is a failpoint that raises: nothing behind it runs, and the row stays as it is at that moment. What it leaves behind is
put right by the sweep, by webhooks and by the next pump, and judged by the carrier's own account.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from carrier_truth import none_of
from faults.dialled import check_jobs_and_attempts
from faults.fates import KINDS, Fate, fates
from faults.run import servers_of_its_own
from integration.calls_carrier import DisturbedCarrier
from integration.calls_servers import _bench
from integration.calls_support import CallsBench, numbers
from invariants import assert_invariants
from switchboard_core.calls import pump
from switchboard_core.calls.carrier import AnswerLostError, CallOrder, CarrierCall, NotSentError
from switchboard_core.calls.dial import CallOffError
from switchboard_core.calls.schemas import RunView
from switchboard_core.failpoints import Failpoint, FailpointError, arm
from switchboard_simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

TAKEN_WITHIN_S = 0.4
PUMPS_A_ROUND = 25
BUDGET_S = 0.5
CHECK_EVERY = 1_000
SAY_EVERY_S = 5.0
STANDSTILL_S = 180.0

BUSINESS: dict[str, Any] = {"call_cap": 100}
CALLEES: dict[str, Any] = {"mix": {"answer": 6, "busy": 2, "no_answer": 2}}
# Every window is short. An attempt that a loaded machine brings too late to the send is called off, and tried again.
SETTINGS: dict[str, Any] = {
    "carrier_read_timeout_seconds": 0.5,
    "dial_deadline_seconds": 1.5,
    "settle_after_seconds": 0.8,
    "unknown_outcome_after_seconds": 2.5,
}
_RETRIES: dict[str, Any] = {"retry_after_s": {"busy": 0.1, "no_answer": 0.1}, "max_attempts": 3}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Created:
    """What came of it.

    Attributes:
        creates: by kind of fate: how many create calls, and how many of them the carrier has a call of.
        once_more: requests that came to the last look a second time; each was refused.
        unknown: attempts that ended as ``outcome_unknown``.
    """

    seed: int
    seconds: float
    creates: dict[str, tuple[int, int]]
    once_more: int
    jobs: int
    attempts: int
    calls: int
    unknown: int

    @property
    def number(self) -> int:
        """Create calls in all."""
        return sum(creates for creates, _ in self.creates.values())


@dataclass
class FatedCarrier(DisturbedCarrier):
    """The carrier, at which each create call meets the next fate.

    Attributes:
        fates: still to come.
        simulator: its controls.
        met: the fate of each attempt that met one.
        refused: requests that came to the last look a second time and were refused.
        let_through: attempts whose second request was not.
    """

    fates: Iterator[Fate] = field(kw_only=True)
    simulator: httpx.Client = field(kw_only=True)
    met: list[tuple[str, Fate]] = field(default_factory=list)
    refused: int = 0
    let_through: list[str] = field(default_factory=list)

    def create(self, order: CallOrder, before_send: Callable[[], None]) -> CarrierCall:
        fate = next(self.fates)
        self.simulator.post("/_sim/faults", json=fate.faults).raise_for_status()
        self._arm(fate, order)
        try:
            call = self.carrier.create(order, before_send)
        except Exception as error:
            if isinstance(error, CallOffError) or (isinstance(error, NotSentError) and error.carrier_fault):
                self.fates = chain([fate], self.fates)  # it never came to the send; the next one meets its fate
            else:
                self._has_met(fate, order, before_send)
            raise
        self._has_met(fate, order, before_send)
        return call

    def _has_met(self, fate: Fate, order: CallOrder, before_send: Callable[[], None]) -> None:
        attempt = parse_qs(urlsplit(order.status_url).query)["attempt"][0]
        self.met.append((attempt, fate))
        if not fate.once_more:
            return

        def look() -> None:
            before_send()
            self.let_through.append(attempt)

        arm(None)
        try:
            self.carrier.create(order, look)
        except CallOffError:
            self.refused += 1
        except (NotSentError, AnswerLostError):
            pass  # let through, or it never came to the look
        self._arm(fate, order)  # the answer is not saved yet

    def _arm(self, fate: Fate, order: CallOrder) -> None:
        if fate.crash is None:
            arm(None)
        elif fate.crash == "before_answer" and fate.answer is None:
            before = self._calls_to(order.to_number)
            arm({fate.crash: _Patient("raise", until=lambda: self._calls_to(order.to_number) > before)})
        else:
            arm({fate.crash: Failpoint("raise")})

    def _calls_to(self, number: str) -> int:
        answer = self.simulator.get(f"/2010-04-01/Accounts/{self.account_sid}/Calls.json", params={"To": number})
        return len(answer.raise_for_status().json()["calls"])


@dataclass
class _Patient(Failpoint):
    """Fires once the carrier has taken the call, which a process that ends at once would often break off before."""

    until: Callable[[], bool] = field(kw_only=True)

    def fires(self) -> bool:
        deadline = time.monotonic() + TAKEN_WITHIN_S
        while not self.until() and time.monotonic() < deadline:
            time.sleep(0.002)
        return super().fires()


def create_calls(folder: Path, seed: int, say: Say, *, creates: int) -> Created:
    """Make create calls with servers of their own.

    Args:
        folder: for the servers; stays.
        seed: of every fate, in the order in which create calls come.
        say: takes a line for people.
        creates: how many at least.

    Raises:
        AssertionError: a call was made twice, a job was lost, or another invariant is broken.
    """
    with (
        servers_of_its_own(folder) as (_, valkey, urls),
        _bench(urls, valkey.url, BUSINESS, CALLEES, SETTINGS) as bench,
    ):
        return fated_creates(bench.reset(), seed, say, creates=creates)


def fated_creates(bench: CallsBench, seed: int, say: Say, *, creates: int) -> Created:
    """The same on a bench with nothing on it, whose business, callees and settings are those above."""
    began = time.monotonic()
    with _fated_carrier(bench, seed) as carrier:
        play = _Play(bench, carrier, creates, say)
        play.to_the_end()
    for run in play.runs:
        bench.slices(run)
    return _judge(bench, carrier, seed, began)


@contextmanager
def _fated_carrier(bench: CallsBench, seed: int) -> Iterator[FatedCarrier]:
    with httpx.Client(
        base_url=bench.simulator_url,
        auth=(DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN),
        timeout=60,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_keepalive_connections=0),  # one that the server closes meanwhile would be an error
    ) as controls:
        try:
            yield FatedCarrier(bench.runtime.carrier, fates=fates(seed), simulator=controls)
        finally:
            arm(None)


class _Play:
    """Two businesses call the same leads, from both ends, until enough create calls were made and every job ended."""

    def __init__(self, bench: CallsBench, carrier: FatedCarrier, creates: int, say: Say) -> None:
        self.runs: list[RunView] = []
        self._bench, self._carrier, self._creates, self._say = bench, carrier, creates, say
        self._leads = 0
        self._runtime = replace(bench.runtime, carrier=carrier)
        self._businesses = (bench.business_id, bench.another_business(**bench.business))
        self._began = self._said = self._moved = time.monotonic()
        self._checked = 0
        self._state = (-1, -1)

    def to_the_end(self) -> None:
        """Pump, sweep and look, again and again.

        Raises:
            AssertionError: an invariant is broken, or nothing moves any more.
        """
        while self._goes_on():
            before = len(self._carrier.met)
            for business_id, run in zip(self._businesses, self.runs[-2:], strict=True):
                assert run.job_id is not None
                self._pump(business_id, run.job_id, run.id)
            self._bench.sweep.tick()
            if len(self._carrier.met) == before:
                time.sleep(0.02)
        self._bench.await_carrier()

    def _goes_on(self) -> bool:
        waiting, open_jobs = self._jobs()
        made, now = len(self._carrier.met), time.monotonic()
        if (made, open_jobs) != self._state:
            self._state, self._moved = (made, open_jobs), now
        if now - self._moved > STANDSTILL_S:
            raise AssertionError(f"nothing has moved for {STANDSTILL_S:g} s; {open_jobs} jobs have not ended")
        if now - self._said > SAY_EVERY_S:
            self._said = now
            self._say(f"{now - self._began:6.0f} s  {made:,} of {self._creates:,} create calls, {open_jobs} jobs open")
        if made - self._checked >= CHECK_EVERY:
            self._checked = made
            assert_invariants(self._bench.urls.owner, simulator_url=self._bench.simulator_url)
        few = max(5, self._creates // 50)
        if made < self._creates and waiting < few:
            # As a rule the first ones are enough: a lead of a business takes one to two create calls.
            self._more_leads(few if self.runs else self._creates // 3)
            return True
        self._let_nobody_wait()
        return open_jobs > 0

    def _jobs(self) -> tuple[int, int]:
        row = self._bench.rows(
            "SELECT count(*) FILTER (WHERE status = 'queued') AS waiting, count(*) AS open "
            "FROM outbound_call_jobs WHERE finished_at IS NULL"
        )[0]
        return row["waiting"], row["open"]

    def _more_leads(self, number: int) -> None:
        leads = numbers(number, 5_000_000 + self._leads)
        self._leads += number
        for business_id, order in zip(self._businesses, (leads, leads[::-1]), strict=True):
            self._bench.add_leads(*order, business_id=business_id)
            rows = self._bench.rows(
                "SELECT id FROM leads WHERE business_id = %s ORDER BY id DESC LIMIT %s", business_id, number
            )
            ids = [row["id"] for row in rows]
            self.runs.append(self._bench.start(business_id=business_id, leads={"ids": ids}, **_RETRIES))

    def _let_nobody_wait(self) -> None:
        """Let the time pass that jobs wait for: how long that is has tests of its own."""
        self._bench.execute(
            "UPDATE outbound_call_jobs SET next_attempt_at = clock_timestamp() "
            "WHERE status = 'queued' AND next_attempt_at > clock_timestamp()"
        )

    def _pump(self, business_id: int, task_id: int, run_id: int) -> None:
        """Pump for a business; where a worker ends, the next one takes its place."""
        # Nearly every create call fails, so the breaker would never let the next one through. It counts failures in a
        # row up to five: from far below zero it never gets there, and everything else about it is as it always is.
        self._bench.execute("UPDATE businesses SET breaker_failures = -1000000 WHERE id = %s", business_id)
        for _ in range(PUMPS_A_ROUND):
            try:
                if not pump.process_next(self._runtime, task_id, run_id, budget_s=BUDGET_S):
                    return
            except FailpointError:
                continue


def _judge(bench: CallsBench, carrier: FatedCarrier, seed: int, began: float) -> Created:
    """Hold what happened against the carrier's own account.

    Raises:
        AssertionError: an invariant is broken; the message says which and where.
    """
    bench.sweep.rebuild_slots()
    assert_invariants(bench.urls.owner, bench.runtime.redis, bench.simulator_url, at_rest=True, within_s=30)
    none_of(carrier.let_through, "create calls that the last look let through a second time")
    report = bench.report()
    called: dict[str, int] = report["calls_by_attempt"]
    unknown = check_jobs_and_attempts(bench.rows, called)
    creates = Counter(str(fate) for _, fate in carrier.met)
    placed = Counter(str(fate) for attempt, fate in carrier.met if attempt in called)
    return Created(
        seed=seed,
        seconds=time.monotonic() - began,
        creates={kind: (creates[kind], placed[kind]) for kind in KINDS},
        once_more=carrier.refused,
        jobs=bench.value("SELECT count(*) FROM outbound_call_jobs"),
        attempts=bench.value("SELECT count(*) FROM call_attempts"),
        calls=report["calls"],
        unknown=len(unknown),
    )
