"""What must hold between the rows, the carrier's own account and the store once a campaign is over.

``invariants`` judges the rows and the slots; these checks go call by call and recording by recording.
"""

from pathlib import Path
from typing import Any

import httpx

from stack import Stack
from switchboard_core.calls.settle import OUTCOME_UNKNOWN
from switchboard_core.calls.states import carrier_event
from switchboard_simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

Json = dict[str, Any]


def carrier_list(stack: Stack, what: str) -> list[Json]:
    """``Calls`` or ``Recordings`` of the carrier's account, as its REST API tells them."""
    url = f"{stack.simulator_url}/2010-04-01/Accounts/{DEMO_ACCOUNT_SID}/{what}.json"
    while True:
        answer = httpx.get(url, params={"PageSize": 1000}, auth=(DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN), trust_env=False)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # the faults hit this reader too
            break
    page = answer.raise_for_status().json()
    assert page["next_page_uri"] is None, "more than one page: the check would not see them all"
    listed: list[Json] = page[what.lower()]
    return listed


def check_every_call_is_known_and_ended_as_the_carrier_says(stack: Stack, run_id: int) -> None:
    """The carrier's calls are exactly the placed attempts, each with the carrier's own last word."""
    attempts = stack.rows("SELECT call_sid, state, reason FROM call_attempts WHERE run_id = %s", run_id)
    calls = {call["sid"]: str(carrier_event(call["status"])) for call in carrier_list(stack, "Calls")}
    assert {row["call_sid"]: row["state"] for row in attempts if row["call_sid"]} == calls
    without_call = {(row["state"], row["reason"]) for row in attempts if row["call_sid"] is None}
    assert {state for state, reason in without_call if reason != OUTCOME_UNKNOWN} <= {"not_placed"}


def check_counters(stack: Stack, run_id: int, view: Json, task: Json) -> None:
    """What people see of a run and of its task equals the rows."""
    rows = stack.rows("SELECT status, count(*) FROM outbound_call_jobs WHERE run_id = %s GROUP BY status", run_id)
    by_status = {row["status"]: row["count"] for row in rows}
    total = sum(by_status.values())
    shown = {name: number for name, number in view["counts"].items() if number and name != "total"}
    assert shown == by_status, "the run's counts are not its rows"
    assert view["counts"]["total"] == task["total"] == total
    failed = by_status.get("failed", 0)
    assert (task["status"], task["done"], task["failed"]) == ("completed", total - failed, failed)
    assert len(task["errors"]) == min(failed, 1000)


def recordings_settled(stack: Stack) -> bool:
    """Whether every recording that the carrier has is in the store, or known to be absent."""
    expected = {recording["sid"] for recording in carrier_list(stack, "Recordings")}
    ended = stack.rows("SELECT recording_sid FROM recordings WHERE status IN ('completed', 'absent')")
    return expected == {row["recording_sid"] for row in ended}


def check_every_recording_is_kept_once(stack: Stack) -> None:
    """One row and one object for each recording of the carrier, and no file besides."""
    rows = stack.rows("SELECT recording_sid, call_sid, status, object_key, bytes, lease_until FROM recordings")
    heard = {recording["sid"]: recording["call_sid"] for recording in carrier_list(stack, "Recordings")}
    assert {row["recording_sid"]: row["call_sid"] for row in rows} == heard
    assert [row for row in rows if row["status"] not in {"completed", "absent"} or row["lease_until"]] == []
    kept = {row["object_key"]: row["bytes"] for row in rows if row["status"] == "completed"}
    folder = Path(stack.env["RECORDINGS_URL"].removeprefix("file://"))
    assert {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.wav")} == kept
