"""Admission against PostgreSQL: cap, turns, rates, hours, do-not-call, caller ids, and many threads at once."""

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from integration.calls_support import CALLER, CallsBench, numbers
from switchboard_core.calls.admission import Admitted, Idle, LookAgain, admit_next
from switchboard_core.calls.dial import _mark_sent
from switchboard_core.calls.models import CallAttempt
from switchboard_core.calls.settle import apply_event
from switchboard_core.calls.states import CallEvent
from switchboard_core.jobs.transport import background_wakeup
from switchboard_core.leads import do_not_call
from switchboard_core.tenancy.models import Business
from switchboard_core.tenancy.schemas import BusinessUpdate
from switchboard_core.tenancy.service import update_business

ENDS = [
    CallEvent.COMPLETED,
    CallEvent.BUSY,
    CallEvent.NO_ANSWER,
    CallEvent.FAILED,
    CallEvent.CANCELED,
    CallEvent.NOT_SENT,
    CallEvent.OUTCOME_UNKNOWN,
]


def admit(bench: CallsBench, business_id: int | None = None) -> Admitted | Idle | LookAgain:
    with bench.session(business_id) as session:
        return admit_next(session, bench.runtime)


def settle(bench: CallsBench, admitted: Admitted, event: CallEvent = CallEvent.COMPLETED) -> None:
    end(bench, admitted.attempt, event)


def end(bench: CallsBench, attempt: CallAttempt, event: CallEvent) -> None:
    """End an attempt; whatever the carrier says of it, it says of a call that was sent."""
    if event is not CallEvent.NOT_SENT:
        _mark_sent(bench.runtime, attempt)
    with bench.session(attempt.business_id) as session:
        apply_event(session, bench.runtime, attempt.id, event)


def change(bench: CallsBench, **values: object) -> None:
    with bench.session() as session:
        update_business(session, BusinessUpdate.model_validate(values), actor="test")


class TestManyThreads:
    """Whoever admits and whoever settles, all at once: the cap holds inside every single transaction."""

    CAPS = (1, 3, 8)
    THREADS = 6
    STEPS = 70

    def test_cap_turns_and_tokens_hold_whatever_the_interleaving(self, bench: CallsBench) -> None:
        businesses = {bench.another_business(call_cap=cap, calls_per_second=400): cap for cap in self.CAPS}
        for at, business_id in enumerate(businesses):
            bench.add_leads(*numbers(60, 5_550_000 + 1000 * at), business_id=business_id)
            for _ in range(2):
                bench.slices(bench.create(business_id=business_id, retry_after_s={"busy": 0, "failed": 0}))
        watch = _Watch(bench, businesses)
        with ThreadPoolExecutor(max_workers=self.THREADS) as pool:
            for done in [pool.submit(self._work, bench, watch, seed) for seed in range(self.THREADS)]:
                done.result()
        assert watch.broken == []
        assert sum(map(len, watch.turns.values())) > 50
        for business_id, cap in businesses.items():
            assert watch.most[business_id] <= cap
            assert watch.most[business_id] == cap, "the cap was never reached, so nothing was shown"
            _assert_turns(watch.turns[business_id])
        bench.runtime.redis.flushall()  # nobody noted slots here
        for business_id in businesses:
            for attempt in watch.live(business_id):
                end(bench, attempt, CallEvent.COMPLETED)
        bench.check()

    def _work(self, bench: CallsBench, watch: "_Watch", seed: int) -> None:
        random = Random(seed)
        for _ in range(self.STEPS):
            business_id = random.choice(list(watch.caps))
            with bench.session(business_id) as session:
                outcome = admit_next(session, bench.runtime)
                session.flush()
                watch.look(session, business_id, outcome)
            if random.random() < 0.6 and (attempt := watch.take_live(business_id, random)):
                end(bench, attempt, random.choice(ENDS))


class _Watch:
    """Looks from inside each admission's transaction, under the business's lock, before it is committed."""

    def __init__(self, bench: CallsBench, caps: dict[int, int]) -> None:
        self.bench = bench
        self.caps = caps
        self.most: defaultdict[int, int] = defaultdict(int)
        self.turns: defaultdict[int, list[int]] = defaultdict(list)
        self.broken: list[str] = []
        self._live: defaultdict[int, list[CallAttempt]] = defaultdict(list)
        self._lock = threading.Lock()

    def look(self, session: Session, business_id: int, outcome: Admitted | Idle | LookAgain) -> None:
        unsettled = select(func.count()).select_from(CallAttempt).where(CallAttempt.settled_at.is_(None))
        live = session.scalar(unsettled) or 0
        tokens = session.scalar(select(Business.rate_tokens)) or 0.0
        with self._lock:
            if live > self.caps[business_id]:
                self.broken.append(f"business {business_id}: {live} live of {self.caps[business_id]}")
            if tokens < 0:
                self.broken.append(f"business {business_id}: {tokens} tokens")
            self.most[business_id] = max(self.most[business_id], live)
            if isinstance(outcome, Admitted):
                self.turns[business_id].append(outcome.run.id)
                self._live[business_id].append(outcome.attempt)

    def take_live(self, business_id: int, random: Random) -> CallAttempt | None:
        with self._lock:
            live = self._live[business_id]
            return live.pop(random.randrange(len(live))) if live else None

    def live(self, business_id: int) -> list[CallAttempt]:
        return self._live[business_id]


def _assert_turns(turns: list[int]) -> None:
    """Two runs that both have work alternate; a retry that is not due yet may skip a turn, never two in five."""
    repeated = sum(1 for first, second in pairwise(turns) if first == second)
    assert repeated <= len(turns) * 0.2, turns


class TestTurns:
    def test_three_runs_of_a_business_take_turns(self, bench: CallsBench) -> None:
        bench.add_leads(*numbers(9))
        ids = [row["id"] for row in bench.rows("SELECT id FROM leads ORDER BY id")]
        runs = [bench.start(leads={"ids": ids[at : at + 3]}).id for at in (0, 3, 6)]
        order = [bench.admit().run.id for _ in range(9)]
        assert order == runs * 3

    def test_one_business_with_a_full_cap_does_not_hold_up_another(self, bench: CallsBench) -> None:
        other = bench.another_business(call_cap=1)
        bench.start(*numbers(2, 5_551_000), business_id=other)
        bench.start(*numbers(2))
        bench.admit(other)
        assert admit(bench, other) == Idle("every slot is taken")
        assert bench.admit().attempt.business_id == bench.business_id


class TestOneCallAtATime:
    def test_a_job_with_a_live_attempt_is_not_admitted_again(self, bench: CallsBench) -> None:
        bench.start(*numbers(1))
        bench.admit()
        assert isinstance(admit(bench), Idle)
        bench.check()

    def test_two_runs_never_have_two_live_calls_to_one_number(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        bench.start(number)
        bench.start()
        first = bench.admit()
        assert isinstance(admit(bench), Idle)
        assert len(bench.attempts(number)) == 1
        settle(bench, first)
        bench.age(15)
        assert bench.admit().run.id != first.run.id

    def test_two_businesses_on_one_account_never_have_two_live_calls_to_one_number(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        other = bench.another_business()
        bench.start(number)
        bench.start(number, business_id=other)
        bench.admit()
        assert isinstance(admit(bench, other), Idle)
        assert len(bench.attempts(number)) == 1


class TestCap:
    def test_a_cap_of_zero_stops_all_dialling(self, bench: CallsBench) -> None:
        bench.start(*numbers(1))
        change(bench, call_cap=0)
        assert admit(bench) == Idle("every slot is taken")
        change(bench, call_cap=1)
        assert isinstance(admit(bench), Admitted)

    def test_a_cap_that_is_lowered_lets_live_calls_end_first(self, bench: CallsBench) -> None:
        bench.start(*numbers(6))
        live = [bench.admit() for _ in range(3)]
        change(bench, call_cap=2)
        for admitted in live[:2]:
            assert admit(bench) == Idle("every slot is taken")
            settle(bench, admitted)
        assert isinstance(admit(bench), Admitted)


class TestRate:
    def test_calls_of_a_business_keep_its_rate(self, bench: CallsBench) -> None:
        change(bench, calls_per_second=0.5)
        bench.start(*numbers(3))
        bench.admit()
        idle = admit(bench)
        assert isinstance(idle, Idle)
        assert idle.why == "the rate is used up"
        assert idle.wait_s is not None
        assert 0.0 < idle.wait_s <= 2.0
        bench.execute("UPDATE businesses SET rate_refilled_at = rate_refilled_at - interval '2 s'")
        assert isinstance(admit(bench), Admitted)

    def test_businesses_share_the_rate_of_the_carrier_account(self, bench: CallsBench) -> None:
        other = bench.another_business()
        bench.start(*numbers(2))
        bench.start(*numbers(2, 5_551_000), business_id=other)
        bench.admit()
        bench.execute(
            "UPDATE carrier_accounts SET rate_tokens = 0, rate_refilled_at = clock_timestamp() + interval '1 h'"
        )
        idle = admit(bench, other)
        assert isinstance(idle, Idle)
        assert idle.why == "the rate is used up"
        bench.execute("UPDATE carrier_accounts SET rate_tokens = 1")
        assert isinstance(admit(bench, other), Admitted)

    def test_a_bucket_that_lacks_less_than_a_microsecond_is_not_overdrawn(self, bench: CallsBench) -> None:
        bench.start(*numbers(2))
        bench.execute(
            "UPDATE businesses SET rate_tokens = 0.9999999, rate_refilled_at = clock_timestamp() + interval '1 h'"
        )
        admit(bench)
        bench.check()


class TestCallingHours:
    def test_a_lead_whose_hours_are_over_waits_for_the_next_morning_of_its_own_zone(self, bench: CallsBench) -> None:
        now = datetime.now(UTC)
        opens, closes = (now + timedelta(hours=2)), (now + timedelta(hours=3))
        hours = {"opens": f"{opens:%H:%M}", "closes": f"{closes:%H:%M}"}
        (number,) = numbers(1)
        run = bench.start(number, calling_hours=hours)
        assert isinstance(admit(bench), LookAgain | Idle)
        assert isinstance(admit(bench), Idle)
        view = bench.view(run.id)
        assert view.waiting_for == "outside the calling hours of its time zone"
        assert view.next_call_at == opens.replace(second=0, microsecond=0)
        assert bench.attempts(number) == []

    def test_each_lead_is_judged_by_its_own_zone(self, bench: CallsBench) -> None:
        """Hours that are open for two more hours in UTC; ten hours further east the day is over, or has not begun."""
        now = datetime.now(UTC)
        hours = {
            "opens": f"{now - timedelta(hours=1):%H:%M}",
            "closes": f"{now + timedelta(hours=2):%H:%M}",
        }
        here, east = numbers(2)
        bench.add_leads(here, zone="UTC")
        bench.add_leads(east, zone="Australia/Brisbane")
        bench.start(calling_hours=hours)
        assert bench.admit().attempt.to_number == here
        assert isinstance(admit(bench), LookAgain | Idle)
        assert bench.attempts(east) == []
        assert bench.job(east)["reason"] == "outside the calling hours of its time zone"

    def test_a_whole_zone_is_put_off_at_once(self, bench: CallsBench) -> None:
        now = datetime.now(UTC)
        hours = {"opens": f"{now + timedelta(hours=2):%H:%M}", "closes": f"{now + timedelta(hours=3):%H:%M}"}
        bench.start(*numbers(500), calling_hours=hours)
        outcomes = [admit(bench) for _ in range(2)]
        assert isinstance(outcomes[-1], Idle)
        assert bench.value("SELECT count(*) FROM outbound_call_jobs WHERE next_attempt_at > clock_timestamp()") == 500

    def test_the_business_is_woken_when_the_hours_begin(self, bench: CallsBench) -> None:
        now = datetime.now(UTC)
        hours = {"opens": f"{now + timedelta(hours=2):%H:%M}", "closes": f"{now + timedelta(hours=3):%H:%M}"}
        bench.start(*numbers(1), calling_hours=hours)
        while not isinstance(admit(bench), Idle):
            pass
        bench.runtime.redis.flushall()
        assert bench.sweep.wake_pumps() == 0
        bench.age(3 * 3600)
        bench.execute("UPDATE businesses SET next_wake_at = clock_timestamp()")
        assert bench.sweep.wake_pumps() == 1


class TestDoNotCall:
    def test_a_number_is_looked_up_when_it_would_be_dialled(self, bench: CallsBench) -> None:
        first, second = numbers(2)
        run = bench.start(first, second)
        with bench.session() as session:
            do_not_call.add(session, [first])
        assert bench.admit().attempt.to_number == second
        job = bench.job(first)
        assert (job["status"], job["reason"]) == ("skipped", "on the do-not-call list")
        assert bench.task(run)["done"] == 1
        bench.check()

    def test_a_retry_of_a_number_that_was_listed_meanwhile_is_not_dialled(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        bench.start(number, retry_after_s={"busy": 0})
        settle(bench, bench.admit(), CallEvent.BUSY)
        with bench.session() as session:
            do_not_call.add(session, [number])
        assert not isinstance(admit(bench), Admitted)
        assert bench.job(number)["status"] == "skipped"

    def test_the_list_of_another_business_does_not_count(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        with bench.session(bench.another_business()) as session:
            do_not_call.add(session, [number])
        bench.start(number)
        assert bench.admit().attempt.to_number == number

    def test_a_long_list_is_passed_over_without_an_end_in_sight(self, bench: CallsBench) -> None:
        listed = numbers(250)
        bench.start(*listed, "+14155559999")
        with bench.session() as session:
            do_not_call.add(session, listed)
        outcomes = [admit(bench) for _ in range(3)]
        assert [type(outcome) for outcome in outcomes] == [LookAgain, LookAgain, Admitted]


class TestDeletedLeads:
    def test_a_lead_that_was_deleted_after_the_start_is_not_called(self, bench: CallsBench) -> None:
        first, second = numbers(2)
        run = bench.start(first, second)
        bench.execute("UPDATE leads SET deleted_at = now() WHERE phone = %s", first)
        assert bench.admit().attempt.to_number == second
        job = bench.job(first)
        assert (job["status"], job["reason"]) == ("skipped", "its lead was deleted")
        assert bench.task(run)["done"] == 1
        bench.check()

    def test_nor_is_one_that_was_erased(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        bench.start(number)
        bench.execute("UPDATE leads SET deleted_at = now(), phone = '', name = ''")
        assert not isinstance(admit(bench), Admitted)
        assert bench.job(number)["status"] == "skipped"

    def test_a_number_that_was_brought_in_again_is_called(self, bench: CallsBench) -> None:
        (number,) = numbers(1)
        bench.start(number)
        bench.execute("UPDATE leads SET deleted_at = now()")
        bench.add_leads(number)
        assert bench.admit().attempt.to_number == number


class TestCallerIds:
    def test_the_pool_is_used_in_turn_also_for_the_retries_of_one_lead(self, bench: CallsBench) -> None:
        pool = [f"+1415555020{digit}" for digit in range(3)]
        run = bench.start(*numbers(1), caller_ids=pool, retry_after_s={"busy": 0}, max_attempts=3)
        used = []
        for _ in range(3):
            admitted = bench.admit()
            used.append(admitted.attempt.from_number)
            settle(bench, admitted, CallEvent.BUSY)
        assert sorted(used) == pool
        assert bench.view(run.id).counts.busy == 1

    def test_many_leads_spread_over_the_pool(self, bench: CallsBench) -> None:
        pool = [f"+1415555020{digit}" for digit in range(3)]
        bench.start(*numbers(9), caller_ids=pool)
        used = [bench.admit().attempt.from_number for _ in range(9)]
        assert {number: used.count(number) for number in pool} == dict.fromkeys(pool, 3)

    def test_a_run_without_numbers_of_its_own_calls_from_those_of_the_business(self, bench: CallsBench) -> None:
        bench.start(*numbers(1))
        assert bench.admit().attempt.from_number == CALLER

    def test_a_business_that_gives_up_its_numbers_places_no_call_and_breaks_nothing(self, bench: CallsBench) -> None:
        first = bench.start(*numbers(2))
        change(bench, caller_ids=[])
        idle = admit(bench)
        assert isinstance(idle, Idle)
        assert idle.why == "there is no number to call from"
        assert bench.view(first.id).waiting_for == "there is no number to call from"
        change(bench, caller_ids=["+14155550155"])
        assert bench.admit().attempt.from_number == "+14155550155"

    def test_a_run_without_a_number_does_not_hold_up_one_that_has_its_own(self, bench: CallsBench) -> None:
        bench.start(*numbers(1))
        own = bench.start(*numbers(1, 5_551_000), caller_ids=["+14155550155"])
        change(bench, caller_ids=[])
        assert bench.admit().run.id == own.id


def test_a_pump_at_the_rate_s_limit_leaves_its_worker_to_who_waits(bench: CallsBench) -> None:
    bench.execute("UPDATE businesses SET call_cap = 50, calls_per_second = 5")
    run = bench.start(*numbers(50))
    bench.runtime.redis.flushall()
    bench.runtime.transport.push(background_wakeup("delete_leads", 1, "low", 60))
    assert bench.pump(run), "there is more to do"
    # At most the tokens of a second and what came while it looked, not those of the two seconds that it may stay.
    assert 1 <= bench.value("SELECT count(*) FROM call_attempts") < 12
