"""What must hold between the database and the carrier once a campaign is over, whatever was killed meanwhile.

Each check reads rows as the database's owner and figures as the simulator saw them, and fails with what differs.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import redis

from stack import Stack
from switchboard_core.calls.semaphore import CallSemaphore
from switchboard_core.calls.settle import OUTCOME_UNKNOWN
from switchboard_core.calls.states import TERMINAL_CALLS, carrier_event
from switchboard_simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

Json = dict[str, Any]


def carrier_list(stack: Stack, what: str) -> list[Json]:
    """``Calls`` or ``Recordings`` of the carrier's account, as its REST API tells them."""
    url = f"{stack.simulator_url}/2010-04-01/Accounts/{DEMO_ACCOUNT_SID}/{what}.json"
    answer = None
    while answer is None or answer.status_code == 503:  # the faults hit this reader too
        answer = httpx.get(url, params={"PageSize": 1000}, auth=(DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN), trust_env=False)
    page = answer.raise_for_status().json()
    assert page["next_page_uri"] is None, "more than one page: the check would not see them all"
    listed: list[Json] = page[what.lower()]
    return listed


def check_dialled_once_per_attempt(stack: Stack, run_id: int) -> None:
    """The carrier has one call for each attempt that was placed, and none for any that was not."""
    report = stack.sim("GET", "report")
    assert report["attempts_called_more_than_once"] == []
    attempts = {str(row["id"]): row for row in stack.rows("SELECT * FROM call_attempts WHERE run_id = %s", run_id)}
    called = set(report["calls_by_attempt"])
    assert called <= set(attempts), "the carrier has calls of attempts that no row knows"
    assert [at for at in called if attempts[at]["state"] == "not_placed"] == [], "called, but taken for not placed"
    placed = {at for at, row in attempts.items() if row["state"] != "not_placed" and row["reason"] != OUTCOME_UNKNOWN}
    assert placed <= called, "taken for placed, but the carrier has no call"
    per_number = Counter(attempts[at]["to_number"] for at in called)
    assert report["calls_by_number"] == dict(per_number)


def check_carriers_word(stack: Stack, run_id: int) -> None:
    """Every attempt ended as the carrier says its call ended, and every call's sid was kept."""
    rows = stack.rows("SELECT call_sid, state FROM call_attempts WHERE run_id = %s AND call_sid IS NOT NULL", run_id)
    calls = {call["sid"]: str(carrier_event(call["status"])) for call in carrier_list(stack, "Calls")}
    assert {row["call_sid"]: row["state"] for row in rows} == calls


def check_cap(stack: Stack, business_id: int, cap: int) -> None:
    """The carrier never saw more calls at once than the cap, and the cap was used."""
    assert stack.sim("GET", "report")["concurrent_max"]["business"][str(business_id)] == cap


def check_jobs_terminal(stack: Stack, run_id: int, leads: int) -> None:
    """One job a lead, each in a terminal state, with as many attempts counted as were placed."""
    jobs = stack.rows("SELECT id, status, attempts FROM outbound_call_jobs WHERE run_id = %s", run_id)
    assert len(jobs) == leads
    assert [job for job in jobs if job["status"] not in TERMINAL_CALLS] == []
    placed = stack.rows(
        "SELECT job_id, count(*) FROM call_attempts WHERE run_id = %s AND state <> 'not_placed' GROUP BY job_id", run_id
    )
    assert {job["id"]: job["attempts"] for job in jobs if job["attempts"]} == {
        row["job_id"]: row["count"] for row in placed
    }


def check_counters(stack: Stack, run_id: int, view: Json, task: Json) -> None:
    """What people see (run and task) equals the rows."""
    rows = stack.rows("SELECT status, count(*) FROM outbound_call_jobs WHERE run_id = %s GROUP BY status", run_id)
    by_status = {row["status"]: row["count"] for row in rows}
    total = sum(by_status.values())
    shown = {name: number for name, number in view["counts"].items() if number and name != "total"}
    assert shown == by_status, "the run's counts are not its rows"
    assert view["counts"]["total"] == task["total"] == total
    failed = by_status.get("failed", 0)
    assert (task["status"], task["done"], task["failed"]) == ("completed", total - failed, failed)
    assert len(task["errors"]) == min(failed, 1000)


def check_slots_free(stack: Stack, business_id: int) -> None:
    """No attempt holds a slot, in the rows or in Redis."""
    assert stack.value("SELECT count(*) FROM call_attempts WHERE settled_at IS NULL") == 0
    with redis.Redis.from_url(stack.redis_url) as client:
        # A process that was killed between its commit and Redis leaves a member; the next rebuild takes it out.
        stack.await_true(lambda: CallSemaphore(client).active(business_id) == 0, "free slots in Redis")


def recordings_settled(stack: Stack) -> bool:
    """Whether every recording that the carrier has is in the store, or known to be absent."""
    expected = {recording["sid"] for recording in carrier_list(stack, "Recordings")}
    ended = stack.rows("SELECT recording_sid FROM recordings WHERE status IN ('completed', 'absent')")
    return expected == {row["recording_sid"] for row in ended}


def check_recordings_once(stack: Stack) -> None:
    """One row and one object for each recording of the carrier, and no file besides."""
    rows = stack.rows("SELECT recording_sid, call_sid, status, object_key, bytes, lease_until FROM recordings")
    heard = {recording["sid"]: recording["call_sid"] for recording in carrier_list(stack, "Recordings")}
    assert {row["recording_sid"]: row["call_sid"] for row in rows} == heard
    assert [row for row in rows if row["status"] not in {"completed", "absent"} or row["lease_until"]] == []
    kept = {row["object_key"]: row["bytes"] for row in rows if row["status"] == "completed"}
    folder = Path(stack.env["RECORDINGS_URL"].removeprefix("file://"))
    assert {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.wav")} == kept
