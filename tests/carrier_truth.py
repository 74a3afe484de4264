"""What must hold between the rows, the carrier's own account and the store once a campaign is over.

``invariants`` judges the rows and the slots; these checks go call by call and recording by recording.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import httpx

from stack import Stack
from switchboard_core.calls.settle import OUTCOME_UNKNOWN
from switchboard_core.calls.states import carrier_event
from switchboard_simulator.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN

Json = dict[str, Any]

_SHOWN = 20
_ENDED = ("completed", "absent")


def none_of(found: Collection[object], what: str) -> None:
    """Fail where something was found that must not be, and say what, also outside of pytest."""
    if found:
        shown = found.items() if isinstance(found, Mapping) else found
        lines = [f"- {item}" for item in list(shown)[:_SHOWN]]
        raise AssertionError("\n".join([f"{what} ({len(found)}):", *lines]))


def differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """What two accounts do not agree about: by name, what the first says and what the second says."""
    return {key: (ours.get(key), theirs.get(key)) for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)}


def carrier_list(stack: Stack, what: str) -> list[Json]:
    """``Calls`` or ``Recordings`` of the carrier's account, as its REST API tells them, all pages of it."""
    login = (DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN)
    # Plain HTTP: without the certificates, which take longer to load than the question to answer.
    with httpx.Client(base_url=stack.simulator_url, auth=login, trust_env=False, verify=False, timeout=60) as carrier:
        listed: list[Json] = []
        path: str | None = f"/2010-04-01/Accounts/{DEMO_ACCOUNT_SID}/{what}.json?PageSize=1000"
        while path:
            answer = carrier.get(path)
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # the faults hit this reader too
                continue
            page = answer.raise_for_status().json()
            listed += page[what.lower()]
            path = page["next_page_uri"]
    return listed


def check_the_cap_held(stack: Stack) -> None:
    """No business ever had more calls at once than its cap, by the carrier's own count."""
    most = stack.sim("GET", "report")["concurrent_max"]["business"]
    caps = {str(row["id"]): row["call_cap"] for row in stack.rows("SELECT id, call_cap FROM businesses")}
    over = {business: number for business, number in most.items() if number > caps[business]}
    none_of(over, f"businesses with more calls at once than their cap, of {caps}")


def check_every_call_is_known_and_ended_as_the_carrier_says(stack: Stack) -> None:
    """The carrier's calls are exactly the placed attempts, each with the carrier's own last word."""
    attempts = stack.rows("SELECT call_sid, state, reason FROM call_attempts")
    calls = {call["sid"]: str(carrier_event(call["status"])) for call in carrier_list(stack, "Calls")}
    ours = {row["call_sid"]: row["state"] for row in attempts if row["call_sid"]}
    none_of(differences(ours, calls), "calls whose end here is not their end at the carrier")
    without_call = {(row["state"], row["reason"]) for row in attempts if row["call_sid"] is None}
    strange = {ending for ending in without_call if ending[0] != "not_placed" and ending[1] != OUTCOME_UNKNOWN}
    none_of(strange, "ends of attempts without a call")


def check_counters(stack: Stack, run_id: int, view: Json, task: Json) -> None:
    """What people see of a run and of its task equals the rows."""
    rows = stack.rows("SELECT status, count(*) FROM outbound_call_jobs WHERE run_id = %s GROUP BY status", run_id)
    by_status = {row["status"]: row["count"] for row in rows}
    total = sum(by_status.values())
    failed = by_status.get("failed", 0)
    shown = {name: number for name, number in view["counts"].items() if number}
    none_of(differences(shown, {**by_status, "total": total}), f"counts of run {run_id}, shown and in the rows")
    told = {name: task[name] for name in ("status", "total", "done", "failed")}
    expected = {"status": "completed", "total": total, "done": total - failed, "failed": failed}
    none_of(differences(told, expected), f"the task of run {run_id}, as told and by the rows")
    none_of(range(abs(len(task["errors"]) - min(failed, 1000))), f"errors too many or too few in the task of {run_id}")


def recordings_settled(stack: Stack) -> bool:
    """Whether every recording that the carrier has is in the store, or known to be absent."""
    unsettled = "SELECT count(*) FROM recordings WHERE status NOT IN ('completed', 'absent', 'failed')"
    if stack.value(unsettled):
        return False
    expected = {recording["sid"] for recording in carrier_list(stack, "Recordings")}
    ended = stack.rows("SELECT recording_sid FROM recordings")
    return expected == {row["recording_sid"] for row in ended}


def check_every_recording_is_kept_once(stack: Stack) -> None:
    """One row and one object for each recording of the carrier, and no file besides."""
    rows = stack.rows("SELECT recording_sid, call_sid, status, object_key, bytes, lease_until FROM recordings")
    heard = {recording["sid"]: recording["call_sid"] for recording in carrier_list(stack, "Recordings")}
    ours = {row["recording_sid"]: row["call_sid"] for row in rows}
    none_of(range(len(rows) - len(ours)), "recordings with more than one row")
    none_of(differences(ours, heard), "recordings known here and those of the carrier")
    none_of([row for row in rows if row["status"] not in _ENDED or row["lease_until"]], "recordings without an end")
    kept = {row["object_key"]: row["bytes"] for row in rows if row["status"] == "completed"}
    folder = Path(stack.env["RECORDINGS_URL"].removeprefix("file://"))
    stored = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.wav")}
    none_of(differences(kept, stored), "recordings by their rows and in the store")
