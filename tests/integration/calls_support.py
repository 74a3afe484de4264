"""The call pipeline in one process: real PostgreSQL and Valkey, the simulator as carrier, and the api for its webhooks.

The worker is the test itself: it places calls one by one where a test needs that, or takes wake-ups from the real RQ
queues and does what they ask for.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

import httpx
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from rq.job import Job
from rq.serializers import JSONSerializer
from sqlalchemy.orm import Session

from integration.calls_carrier import DisturbedCarrier, KilledError, kill
from invariants import assert_invariants, carrier_report
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core import crossing
from switchboard_core.calls import callbacks, pump, service
from switchboard_core.calls.admission import Admitted, admit_next
from switchboard_core.calls.dial import dial
from switchboard_core.calls.schemas import RunCreate, RunView
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.transport import BACKGROUND_JOB, PROCESS_NEXT, background_wakeup, process_next_wakeup
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import create_business
from switchboard_worker.sweep import Sweep
from switchboard_worker.tasks.entry import tasks

CALLER = "+14155550100"
Row = dict[str, Any]


@dataclass
class CallsBench:
    """One process's parts, one business that may call around the clock, and the carrier.

    Servers are shared by the tests of a module; each test begins with ``reset``.

    Attributes:
        business: settings of the business that each test gets.
    """

    runtime: Runtime
    urls: DatabaseUrls
    simulator_url: str
    business: dict[str, Any]
    business_id: int = 0
    kernel: Kernel = field(init=False)
    sweep: Sweep = field(init=False)
    _owner: psycopg.Connection[Row] = field(init=False)

    def __post_init__(self) -> None:
        runtime = self.runtime
        self.kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks(runtime))
        url = self.urls.owner.replace("postgresql+psycopg://", "postgresql://", 1)
        self._owner = psycopg.connect(url, row_factory=dict_row, autocommit=True)

    def reset(self) -> Self:
        """Forget everything, and begin with a new business."""
        self.sim("POST", "reset")
        tables = self.rows(
            "SELECT string_agg(quote_ident(tablename), ', ') AS names FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'schema_state')"
        )[0]["names"]
        self._truncate(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(tables)))
        self.runtime.redis.flushall()
        self.sweep = Sweep(self.runtime)
        self.business_id = make_business(self.runtime, **self.business)
        return self

    def _truncate(self, statement: sql.Composed) -> None:
        """A last webhook of the test before may hold some of the locks, and end as the winner."""
        with suppress(psycopg.errors.DeadlockDetected):
            self._owner.execute(statement)
            return
        self._truncate(statement)

    def close(self) -> None:
        self.kernel.close()
        self._owner.close()

    # --- the database, as its owner

    def rows(self, query: str, *values: object) -> list[Row]:
        return self._owner.execute(query, values).fetchall()

    def value(self, query: str, *values: object) -> Any:
        return next(iter(self.rows(query, *values)[0].values()))

    def execute(self, query: str, *values: object) -> None:
        self._owner.execute(query, values)

    @contextmanager
    def session(self, business_id: int | None = None) -> Iterator[Session]:
        """One transaction of the business, or of another one, as the application."""
        with self.runtime.database.tenant(business_id or self.business_id) as session:
            yield session

    def another_business(self, **settings: Any) -> int:
        return make_business(self.runtime, **settings)

    def add_leads(self, *numbers: str, zone: str = "UTC", business_id: int | None = None) -> None:
        with self._owner.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO leads (business_id, phone, name, timezone) VALUES (%s, %s, %s, %s)",
                [(business_id or self.business_id, number, f"Lead {number[-4:]}", zone) for number in numbers],
            )

    def job(self, number: str) -> Row:
        """The newest call job of a number."""
        return self.rows("SELECT * FROM outbound_call_jobs WHERE to_number = %s ORDER BY id DESC", number)[0]

    def attempts(self, number: str) -> list[Row]:
        return self.rows("SELECT * FROM call_attempts WHERE to_number = %s ORDER BY created_at", number)

    def attempt(self, number: str) -> Row:
        """The only attempt at a number."""
        (found,) = self.attempts(number)
        return found

    def recording(self, recording_id: int) -> Row:
        """The row of a recording."""
        return self.rows("SELECT * FROM recordings WHERE id = %s", recording_id)[0]

    def recordings_due(self) -> None:
        """Let the time pass that recordings wait for; leases stay as they are."""
        self.execute("UPDATE recordings SET run_after = clock_timestamp()")

    def age(self, seconds: float) -> None:
        """Let time go by for every attempt and every job that waits."""
        back = {"by": seconds}
        self._owner.execute(
            "UPDATE call_attempts SET created_at = created_at - make_interval(secs => %(by)s), "
            "sent_at = sent_at - make_interval(secs => %(by)s), "
            "checked_at = checked_at - make_interval(secs => %(by)s), "
            "settled_at = settled_at - make_interval(secs => %(by)s)",
            back,
        )
        self._owner.execute(
            "UPDATE outbound_call_jobs SET next_attempt_at = next_attempt_at - make_interval(secs => %(by)s) "
            "WHERE status = 'queued'",
            back,
        )

    # --- the carrier

    def sim(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(method, f"{self.simulator_url}/_sim/{path}", json=body, timeout=60, verify=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def script(self, number: str, outcome: str = "answer", **details: Any) -> None:
        self.sim("POST", "script", {"number": number, "outcome": outcome, **details})

    def faults(self, **probabilities: float) -> None:
        self.sim("POST", "faults", probabilities)

    def report(self) -> Row:
        return carrier_report(self.simulator_url)

    def calls_to(self, number: str) -> int:
        """How many calls to a number the carrier has made."""
        return int(self.report()["calls_by_number"].get(number, 0))

    def sid_at_carrier(self, number: str) -> str:
        """The sid of the only call to a number, whether or not any row knows it."""
        (call,) = self.runtime.carrier.find(number, datetime(2000, 1, 1, tzinfo=UTC))
        return call.sid

    def await_carrier(self) -> None:
        """Wait until no call lives and no callback is on its way."""
        assert self.sim("GET", "idle?timeout=30")["idle"], "the carrier is still busy"

    # --- runs

    def start(self, *numbers: str, business_id: int | None = None, **order: Any) -> RunView:
        """Start a run with new leads and let it expand, as a worker would."""
        if numbers:
            self.add_leads(*numbers, business_id=business_id)
        run = self.create(business_id=business_id, **order)
        self.slices(run)
        return self.view(run.id, business_id)

    def create(self, *, business_id: int | None = None, **order: Any) -> RunView:
        """Start a run that no worker has seen yet."""
        values = {"name": "Spring", "message": "Hello {name}", "leads": {"all": True}, "record": False, **order}
        with self.session(business_id) as session:
            run = service.start_run(session, self.runtime, RunCreate.model_validate(values))
            return service.view(session, run)

    def view(self, run_id: int, business_id: int | None = None) -> RunView:
        with self.session(business_id) as session:
            return service.view(session, service.get_run(session, run_id))

    def slices(self, run: RunView, *, budget_s: float = 2.0) -> int:
        """Run slices of a run's background job until it sleeps or ends; returns how many."""
        assert run.job_id is not None
        for number in range(1, 1000):
            if self.kernel.run_slice(run.job_id, budget_s=budget_s) is Outcome.FINISHED:
                return number
        raise AssertionError("the background job does not come to rest")

    def task(self, run: RunView) -> Row:
        return self.rows("SELECT * FROM background_jobs WHERE id = %s", run.job_id)[0]

    # --- a worker, step by step

    def admit(self, business_id: int | None = None) -> Admitted:
        """Admit a call that has to be admissible; nothing is sent."""
        with self.session(business_id) as session:
            outcome = admit_next(session, self.runtime)
        assert isinstance(outcome, Admitted), outcome
        pump._take_slot(self.runtime, outcome.attempt.business_id, outcome)
        return outcome

    def dial(self, admitted: Admitted | None = None, **disturbances: Callable[[], object]) -> Admitted:
        """Place a call and write down the answer, disturbed in one of the ways of ``DisturbedCarrier``."""
        admitted = admitted or self.admit()
        carrier = DisturbedCarrier(self.runtime.carrier, **disturbances)
        dial(replace(self.runtime, carrier=carrier), admitted)
        return admitted

    def die_dialling(self, moment: str) -> Admitted:
        """Admit a call, and be killed at a moment of ``DisturbedCarrier``."""
        admitted = self.admit()
        with suppress(KilledError):
            self.dial(admitted, **{moment: kill})
            raise AssertionError("the worker lives")
        return admitted

    def pump(self, run: RunView) -> bool:
        """What one ``process_next`` job does."""
        assert run.job_id is not None
        return pump.process_next(self.runtime, run.job_id, run.id)

    def callback(self, attempt_id: uuid.UUID, status: str, **form: str) -> None:
        """Apply a status callback, as the api does once its signature is checked."""
        ref = crossing.AttemptRef(self.business_of(attempt_id), attempt_id)
        assert callbacks.on_status(self.runtime, ref, {"CallStatus": status, **form})

    def business_of(self, attempt_id: uuid.UUID) -> int:
        return int(self.value("SELECT business_id FROM call_attempts WHERE id = %s", attempt_id))

    # --- a worker that takes wake-ups from the queues

    def work_one(self) -> bool:
        """Do what the next wake-up asks for; false where none waits."""
        redis = self.runtime.redis
        for queue in ("high", "default"):
            taken = redis.lpop(f"rq:queue:{queue}")
            if isinstance(taken, bytes):
                job = Job.fetch(taken.decode(), connection=redis, serializer=JSONSerializer)
                self._perform(job)
                return True
        return False

    def _perform(self, job: Job) -> None:
        args = [int(arg) for arg in job.args or ()]
        if job.func_name == PROCESS_NEXT:
            if pump.process_next(self.runtime, args[0], args[1], budget_s=0.5):
                self.runtime.transport.push(process_next_wakeup(args[0], args[1]))
            return
        assert job.func_name == BACKGROUND_JOB, job.func_name
        if self.kernel.run_slice(args[0], budget_s=0.5) is Outcome.AGAIN:
            row = self.rows("SELECT job_type, queue FROM background_jobs WHERE id = %s", args[0])[0]
            self.runtime.transport.push(background_wakeup(row["job_type"], args[0], row["queue"], 60))

    def work_until(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """Work off the queues, sweeping now and then, until ``condition`` holds."""
        deadline, sweeps_at = time.monotonic() + timeout, 0.0
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"worked {timeout:g} s in vain for {what}")
            if self.work_one():
                continue
            if time.monotonic() > sweeps_at:
                self.sweep.tick()
                sweeps_at = time.monotonic() + self.runtime.settings.sweep_interval_seconds
            time.sleep(0.01)

    def work_to_the_end(self, *runs: RunView, timeout: float = 60.0) -> list[RunView]:
        """Work until every run is over; returns how they look then."""

        def over() -> bool:
            ids = [run.id for run in runs]
            return not self.rows("SELECT 1 FROM outbound_call_runs WHERE id = ANY(%s) AND finished_at IS NULL", ids)

        self.work_until(over, "the end of the runs", timeout)
        return [self.view(run.id, self._business_of_run(run.id)) for run in runs]

    def _business_of_run(self, run_id: int) -> int:
        return int(self.value("SELECT business_id FROM outbound_call_runs WHERE id = %s", run_id))

    def await_true(self, condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
        """Wait until ``condition`` holds, without working."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout:g} s in vain for {what}")
            time.sleep(0.01)

    def await_status(self, number: str, *statuses: str) -> None:
        """Wait until the carrier's callbacks have brought a number's job to one of ``statuses``."""
        self.await_true(lambda: self.job(number)["status"] in statuses, f"{number} to be {' or '.join(statuses)}")

    def check(self, *, at_rest: bool = False) -> None:
        """Hold every invariant against the rows, Redis and the carrier."""
        assert_invariants(self.urls.owner, self.runtime.redis, self.simulator_url, at_rest=at_rest)


def make_business(runtime: Runtime, **settings: Any) -> int:
    """A business that calls around the clock and as fast as it likes; its buckets are full."""
    values = {
        "caller_ids": [CALLER],
        "calling_from": "00:00",
        "calling_until": "00:00",
        "call_cap": 10,
        "calls_per_second": 1000,
        **settings,
    }
    business = create_business(runtime.database, "Acme", **values)
    with runtime.database.tenant(business.id) as session:
        session.merge(business).rate_tokens = 1.0
    return business.id


def numbers(count: int, first: int = 5_550_000) -> Sequence[str]:
    """Numbers of leads that nobody has."""
    return [f"+1415{first + index}" for index in range(count)]
