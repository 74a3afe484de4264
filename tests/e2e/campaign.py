"""A business, its leads and its campaigns, by the same ways that users take: the CLI in a pod, and the api."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2e.kube import Json, Kube
from e2e.truth import Truth
from switchboard_cli.client import ApiClient

RUNS = "/api/outbound_calls/runs"
_ENDED = frozenset({"completed", "failed", "cancelled"})
_API_PORT = 80


@dataclass(frozen=True)
class Business:
    """A tenant.

    Attributes:
        kube: the namespace.
        api_service: the api's Service.
        id: of the business.
        key: an owner's.
    """

    kube: Kube
    api_service: str
    id: int
    key: str = field(repr=False)

    @contextmanager
    def client(self) -> Iterator[ApiClient]:
        """The api, by a port-forward to one of its pods: for times at which no pod leaves."""
        with (
            self.kube.forward(f"svc/{self.api_service}", _API_PORT) as port,
            ApiClient(f"http://127.0.0.1:{port}", self.key) as client,
        ):
            yield client

    def start_run(self, numbers: Sequence[str], **order: Any) -> int:
        """Import leads and start a campaign that calls them; returns the run's id."""
        rows = "".join(f"{number},Lead {number[-4:]},UTC\n" for number in numbers)
        content = f"phone,name,timezone\n{rows}".encode()
        body = {"name": "e2e", "message": "Hello {name}.", "max_attempts": 1, "retry_after_s": {}, **order}
        with self.client() as api:
            report = api.upload("/api/leads/import", lambda: [content], {"filename": "leads.csv"})
            assert report["created"] + report["updated"] == len(numbers), report
            run: Json = api.post(RUNS, {**body, "leads": {"import_id": report["id"]}})
        return int(run["id"])


def create_business(kube: Kube, api: str, name: str = "Acme", **options: object) -> Business:
    """Create a business that may call around the clock.

    Args:
        kube: the namespace.
        api: name of the api's Deployment and Service.
        name: of the business.
        options: further options of ``switchboard business create``; underscores stand for hyphens.
    """
    wanted = {"hours": "00:00-00:00", "cap": 10, "rate": 50, "caller_id": "+14155550100", **options}
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in wanted.items()]
    said = kube.execute(f"deploy/{api}", "switchboard", "business", "create", name, *arguments, "--json")
    created: Json = json.loads(said)
    return Business(kube, api, int(created["id"]), created["api_key"])


def numbers(count: int, *, first: int = 1000) -> list[str]:
    """Telephone numbers, all different."""
    return [f"+1415555{number:04d}" for number in range(first, first + count)]


def await_end(truth: Truth, run_id: int, timeout: float) -> None:
    """Wait until a campaign has ended and the carrier has no callback under way.

    Args:
        truth: the database.
        run_id: the campaign.
        timeout: seconds.
    """
    query = "SELECT status FROM outbound_call_runs WHERE id = %s"
    truth.until(lambda: truth.value(query, run_id) in _ENDED, f"the end of run {run_id}", timeout)
    truth.until(
        lambda: truth.simulator("GET", "idle?timeout=10")["idle"], "the carrier to have nothing under way", timeout
    )


def await_recordings(truth: Truth, timeout: float) -> int:
    """Wait until every recording that the carrier made is kept; returns how many there are."""
    made = truth.simulator("GET", "report")["recordings"]["completed"]
    kept = "SELECT count(*) FROM recordings WHERE status = 'completed' AND bytes > 0"
    truth.until(lambda: truth.value(kept) >= made, f"{made} recordings to be kept", timeout)
    return int(made)


def check_run(truth: Truth, run_id: int, calls: int) -> None:
    """Every number of a finished campaign was called exactly once, says the carrier."""
    truth.check_at_rest()
    assert truth.value("SELECT status FROM outbound_call_runs WHERE id = %s", run_id) == "completed"
    placed = truth.rows("SELECT to_number, count(*) FROM call_attempts WHERE run_id = %s GROUP BY 1", run_id)
    assert len(placed) == calls
    report = truth.simulator("GET", "report")
    called = {row["to_number"]: report["calls_by_number"].get(row["to_number"], 0) for row in placed}
    assert set(called.values()) == {1}, {number: times for number, times in called.items() if times != 1}
