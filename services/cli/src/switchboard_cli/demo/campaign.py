"""What the demo does with the product: a business, leads from a CSV, a campaign, and looking at it through the api."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from switchboard_cli.client import ApiClient, ApiError
from switchboard_cli.commands.business import create_with_key
from switchboard_cli.commands.leads import upload_leads
from switchboard_cli.demo.environment import HANG_UPS
from switchboard_cli.demo.stack import DemoStack
from switchboard_cli.errors import CliError
from switchboard_cli.follow import is_over
from switchboard_cli.output import Json

CAP = 20
"""Calls at once; three is the default of a business, and would make the demo a long one."""

_RUNS = "/api/outbound_calls/runs"
_LOOK_EVERY_S = 0.5
_LONGEST_S = 600.0
_ENDED_RECORDINGS = frozenset({"completed", "absent", "failed"})
_BUSINESS = {
    "timezone": "America/Los_Angeles",
    "call_cap": CAP,
    "calls_per_second": 25,
    # 555-01xx is set aside for fiction.
    "caller_ids": ["+14155550190", "+14155550191", "+14155550192"],
    # All day, so that the demo works at any time of the day.
    "calling_from": "00:00",
    "calling_until": "00:00",
}
_ORDER: Json = {
    "name": "Spring renewal",
    "message": "Hello {name}, your plan renews next week. Please call us back if you have any question.",
    "machine_detection": "detect",
    "max_attempts": 2,
    "retry_after_s": {"busy": 1.0, "no_answer": 1.5},
}


@dataclass(frozen=True)
class Moment:
    """The campaign at one moment.

    Attributes:
        run: the run, as the api shows it.
        recordings: its recordings, newest first.
    """

    run: Json
    recordings: list[Json]

    @property
    def recordings_ended(self) -> int:
        """Recordings that nothing remains to be done for."""
        return sum(recording["status"] in _ENDED_RECORDINGS for recording in self.recordings)


def script_carrier(simulator_url: str) -> None:
    """Tell the simulator about the people who hang up at once."""
    httpx.post(f"{simulator_url}/_sim/script", json=HANG_UPS, timeout=10, trust_env=False).raise_for_status()


def create_business(database_url: str) -> tuple[int, str]:
    """Create the demo's business; returns its id and an owner key.

    Args:
        database_url: for the application's role.
    """
    from switchboard_core.db import Database, make_engine
    from switchboard_core.logs import configure_logging
    from switchboard_core.settings import Settings

    configure_logging("WARNING")
    settings = Settings(_env_file=None, database_url=database_url)
    database = Database(make_engine(settings, application_name="switchboard-demo"))
    try:
        return create_with_key(database, "Acme Demo", **_BUSINESS)
    finally:
        database.dispose()


def import_leads(api: ApiClient, file: Path) -> Json:
    """Import the leads; returns the report.

    Raises:
        CliError: the file holds nobody to call.
    """
    report = upload_leads(api, file, region="US")
    if report["created"] == 0:
        raise CliError(f"{file} holds no lead that could be called: {report['rejected']} rows were rejected.")
    return report


def start_run(api: ApiClient, import_id: int, calls: int | None) -> int:
    """Start the campaign; returns the run's id.

    Args:
        api: the connection.
        import_id: whose leads are called.
        calls: how many of them, from the first on; None for all.
    """
    leads: Json = {"import_id": import_id}
    if calls is not None:
        leads = {"ids": [lead["id"] for lead in api.items("/api/leads", leads, limit=calls)]}
    return int(api.post(_RUNS, {**_ORDER, "leads": leads})["id"])


def moments(stack: DemoStack, api: ApiClient, run_id: int) -> Iterator[Moment]:
    """Look at the campaign again and again, until it is over and every recording was transcribed.

    Raises:
        CliError: it took too long.
        DevstackError: a process ended by itself.
    """
    deadline = time.monotonic() + _LONGEST_S
    quiet = False
    while time.monotonic() < deadline:
        moment = _look(stack, api, run_id)
        yield moment
        if is_over(moment.run):
            if quiet and moment.recordings_ended == len(moment.recordings):
                return
            # Recordings are called back a little after the end of their calls.
            quiet = quiet or carrier_is_idle(stack.at.simulator)
        time.sleep(_LOOK_EVERY_S)
    raise CliError(f"The campaign was not over after {_LONGEST_S:g} s; the logs are in {stack.logs}.")


def _look(stack: DemoStack, api: ApiClient, run_id: int) -> Moment:
    stack.require_alive()
    try:
        return Moment(api.get(f"{_RUNS}/{run_id}"), api.items("/api/recordings", {"run_id": run_id}))
    except ApiError:
        # The reason is in the log of a process that has ended, if one has.
        stack.require_alive()
        raise


def calls_of(api: ApiClient, run_id: int) -> list[Json]:
    """The call jobs of a run with every attempt."""
    return api.items(f"{_RUNS}/{run_id}/calls")


def carrier_is_idle(simulator_url: str) -> bool:
    """Whether the carrier has no call and no callback under way."""
    answer = httpx.get(f"{simulator_url}/_sim/idle", params={"timeout": 0}, timeout=10, trust_env=False)
    return bool(answer.json()["idle"])


def carrier_report(simulator_url: str) -> Json:
    """What the carrier saw."""
    report: Json = httpx.get(f"{simulator_url}/_sim/report", timeout=10, trust_env=False).json()
    return report
