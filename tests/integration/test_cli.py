"""The command line against the real services: what it prints, how it ends, and what it says when it cannot."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from cli_support import Cli, ran, started, without_websockets
from stack import Stack, running_stack
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres, EmbeddedValkey, free_port
from switchboard_core.migrate.lock import LOCK_KEY

CSV = """\
phone,name,timezone,tags,do_not_call
+14155550101,Ada Moreno,America/Los_Angeles,spring,no
+14155550102,Ben Ito,America/New_York,spring|vip,no
+442079460103,Cleo Adams,,autumn,no
call me,Dan Wrong,,spring,no
+14155550104,Eve Quiet,,autumn,yes
"""
# A lead's name with an escape sequence that would clear the terminal.
HOSTILE = "phone,name\n+14155550105,Mal\x1b[2Jory\n"


@pytest.fixture(scope="module")
def stack(
    stack_folder: Path, postgres: EmbeddedPostgres, migrated_template: str, valkey: EmbeddedValkey
) -> Iterator[Stack]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    urls = postgres.create_database("cli", template=migrated_template)
    simulator = {"SIMULATOR_MIX": '{"answer": 1}'}
    with running_stack(stack_folder / "cli", urls, valkey.url, simulator=simulator) as running:
        yield running
    postgres.drop_database("cli")


@pytest.fixture
def cli(stack: Stack) -> Cli:
    """The command line of a business of this test alone."""
    business_id, key = stack.business(call_cap=5, calls_per_second=100)
    return Cli(stack, business_id, key, stack.api_url)


@pytest.fixture
def leads(cli: Cli, tmp_path: Path) -> dict[str, Any]:
    """The report of an import of three leads who may be called and one who may not."""
    file = tmp_path / "leads.csv"
    file.write_text(CSV)
    report: dict[str, Any] = cli.ok("leads", "import", str(file))
    return report


def start_run(cli: Cli, *options: str) -> dict[str, Any]:
    run: dict[str, Any] = cli.ok("run", "start", "Spring", "--message", "Hello {name}", *options)
    return run


def idle_run(cli: Cli) -> int:
    """A run that is paused before anybody was called."""
    cli.stack.rows("UPDATE businesses SET call_cap = 0 WHERE id = %s RETURNING id", cli.business_id)
    run_id: int = start_run(cli, "--all")["id"]
    assert cli.ok("run", "pause", str(run_id))["status"] == "paused"
    return run_id


# Leads


def test_an_import_reports_what_became_of_the_rows(leads: dict[str, Any]) -> None:
    assert (leads["total"], leads["created"], leads["rejected"], leads["do_not_call"]) == (5, 4, 1, 1)


def test_people_see_why_a_row_was_rejected(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "leads.csv"
    file.write_text(CSV)
    told = cli("leads", "import", str(file))
    assert told.status == 0
    assert "rejected\t1\n" in told.out
    assert "5\tphone\t'call me' has letters" in told.out


@pytest.mark.usefixtures("leads")
def test_leads_are_listed_by_what_they_have_in_common(cli: Cli) -> None:
    assert [lead["name"] for lead in cli.ok("leads", "list", "--tag", "vip")] == ["Ben Ito"]
    assert [lead["name"] for lead in cli.ok("leads", "list", "--do-not-call")] == ["Eve Quiet"]
    assert [lead["name"] for lead in cli.ok("leads", "list", "--search", "0103")] == ["Cleo Adams"]
    assert len(cli.ok("leads", "list", "--limit", "2")) == 2


@pytest.mark.usefixtures("leads")
def test_leads_are_deleted_after_a_look_and_a_yes_and_brought_back(cli: Cli) -> None:
    asked = cli.asked("n", "leads", "delete", "--tag", "spring")
    assert asked.status == 1
    assert "Ada Moreno" in asked.err
    assert "Delete 2 leads?" in asked.err
    assert "Nothing was changed." in asked.err
    assert len(cli.ok("leads", "list")) == 4
    agreed = cli.asked("y", "leads", "delete", "--tag", "spring", "--watch", "--json")
    deleted = json.loads(agreed.out.splitlines()[-1])
    assert (deleted["status"], deleted["done"]) == ("completed", 2)
    assert {lead["name"] for lead in cli.ok("leads", "list")} == {"Cleo Adams", "Eve Quiet"}
    restored = cli("leads", "restore", str(deleted["id"]), "--yes", "--watch", "--json").lines[-1]
    assert (restored["status"], restored["done"]) == ("completed", 2)
    assert len(cli.ok("leads", "list")) == 4


def test_an_import_is_taken_back_by_a_script(cli: Cli, leads: dict[str, Any]) -> None:
    silent = cli.asked("", "leads", "delete-import", str(leads["id"]))
    assert silent.status == 1
    assert "In a script pass --yes." in silent.err
    task = cli("leads", "delete-import", str(leads["id"]), "--yes", "--watch", "--json").lines[-1]
    assert (task["job_type"], task["status"], task["done"]) == ("delete_imported_leads", "completed", 4)


@pytest.mark.usefixtures("leads")
def test_leads_are_changed_from_the_command_line(cli: Cli) -> None:
    changes = ("--add-tag", "called", "--remove-tag", "spring", "--set", "plan=pro")
    told = cli("leads", "update", "--tag", "vip", *changes, "--yes", "--watch")
    assert told.status == 0
    [ben] = cli.ok("leads", "list", "--tag", "called")
    assert (ben["tags"], ben["attributes"]) == (["vip", "called"], {"plan": "pro"})
    nobody = cli("leads", "delete", "--tag", "nobody")
    assert (nobody.status, nobody.err) == (0, "No lead is meant: nothing was changed.\n")


def test_a_name_cannot_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "hostile.csv"
    file.write_text(HOSTILE)
    cli("leads", "import", str(file))
    told = cli("leads", "list")
    assert "ory" in told.out
    assert "\x1b" not in told.out


# Runs


@pytest.mark.usefixtures("leads")
def test_a_run_is_watched_to_its_end(cli: Cli) -> None:
    told = cli("run", "start", "Spring", "--message", "Hello {name}", "--tag", "spring", "--watch", "--json")
    assert told.status == 0
    last = told.lines[-1]
    assert (last["status"], last["counts"]["completed"], last["counts"]["active"]) == ("completed", 2, 0)


@pytest.mark.usefixtures("leads")
def test_people_who_watch_see_counts_and_the_end(cli: Cli) -> None:
    run_id = start_run(cli, "--all")["id"]
    told = cli("run", "watch", str(run_id))
    assert told.status == 0
    assert told.out.splitlines()[-1] == f"run {run_id} Spring completed: 4/4  active 0  completed 3  skipped 1"


@pytest.mark.usefixtures("leads")
def test_a_watch_goes_on_by_polling_where_no_websocket_gets_through(cli: Cli) -> None:
    run_id = start_run(cli, "--all")["id"]
    with without_websockets(cli.url) as url:
        told = replace(cli, url=url)("run", "watch", str(run_id), "--json")
    assert (told.status, told.err) == (0, "")
    assert told.lines[-1]["status"] == "completed"


@pytest.mark.usefixtures("leads")
def test_a_run_is_paused_resumed_and_cancelled(cli: Cli) -> None:
    run_id = str(idle_run(cli))
    assert cli.ok("run", "show", run_id)["status"] == "paused"
    assert cli.ok("run", "resume", run_id)["status"] in {"pending", "running"}
    assert cli.ok("run", "cancel", run_id)["status"] == "cancelled"
    assert [run["status"] for run in cli.ok("run", "list")] == ["cancelled"]


@pytest.mark.usefixtures("leads")
def test_a_forced_cancel_reports_what_it_did(cli: Cli) -> None:
    run_id = idle_run(cli)
    report = cli.ok("run", "cancel", str(run_id), "--force")
    assert (report["run_id"], report["hung_up"], report["pending"]) == (run_id, 0, 0)


@pytest.mark.usefixtures("leads")
def test_watching_a_cancelled_run_ends_with_1(cli: Cli) -> None:
    run_id = str(idle_run(cli))
    cli.ok("run", "cancel", run_id)
    told = cli("run", "watch", run_id, "--json")
    assert (told.status, told.lines[-1]["status"]) == (1, "cancelled")


@pytest.mark.usefixtures("leads")
def test_ctrl_c_leaves_the_run_alone_and_says_how_to_cancel_it(cli: Cli) -> None:
    run_id = idle_run(cli)
    with started("run", "watch", str(run_id), "--json", **cli.env) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["status"] == "paused"
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert said == f"Run {run_id} goes on. To cancel it: switchboard run cancel {run_id}\n"
    assert cli.ok("run", "show", str(run_id))["status"] == "paused"


# Tasks and recordings


@pytest.mark.usefixtures("leads")
def test_the_task_of_a_run_is_listed_shown_watched_and_cancelled(cli: Cli) -> None:
    run_id = idle_run(cli)
    task_id = str(cli.ok("run", "show", str(run_id))["job_id"])
    assert [str(task["id"]) for task in cli.ok("tasks", "list", "--type", "enqueue_outbound_calls")] == [task_id]
    assert cli.ok("tasks", "show", task_id)["job_type"] == "enqueue_outbound_calls"
    assert cli.ok("tasks", "cancel", task_id)["cancel_requested"]
    told = cli("tasks", "watch", task_id, "--json")
    assert (told.status, told.lines[-1]["status"]) == (1, "cancelled")


@pytest.mark.usefixtures("leads")
def test_recordings_of_a_run_are_listed(cli: Cli) -> None:
    run_id = start_run(cli, "--tag", "vip")["id"]
    cli("run", "watch", str(run_id))
    cli.stack.await_true(
        lambda: [r["status"] for r in cli.ok("recordings", "list", "--run", str(run_id))] == ["completed"],
        "the recording",
    )
    assert cli.ok("recordings", "search", "elephant") == []


# What goes wrong is one sentence


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("run", "show", "4711"), 1, "There is no run 4711."),
        (("run", "watch", "4711"), 1, "There is no run 4711."),
        (("tasks", "watch", "4711"), 1, "There is no task 4711."),
        (("leads", "import", "/nowhere.csv"), 1, "/nowhere.csv cannot be read: No such file or directory."),
        (
            ("run", "start", "Spring", "--message", "Hello"),
            2,
            "Say whom to call: --tag, --import-id, --lead, or --all for every lead.",
        ),
        (
            ("run", "start", "Spring", "--message", "Hello", "--all", "--retry", "busy"),
            2,
            "'busy' is no retry rule: write outcome=seconds, such as busy=300.",
        ),
        (
            ("leads", "list", "--url", "127.0.0.1"),
            2,
            "'127.0.0.1' is not where an api can be: give a URL such as http://127.0.0.1:8000.",
        ),
        (
            ("leads", "list", "--api-key", "sbk_wrong"),
            1,
            "The API key is not known: check that it was copied whole. Pass it with --api-key or SWITCHBOARD_API_KEY.",
        ),
        (
            ("leads", "list", "--api-key", ""),
            2,
            (
                "An API key is needed: pass --api-key or set SWITCHBOARD_API_KEY (`switchboard business create NAME` "
                "prints one)."
            ),
        ),
    ],
)
def test_an_error_is_one_sentence(cli: Cli, arguments: tuple[str, ...], status: int, sentence: str) -> None:
    told = cli(*arguments)
    assert (told.status, told.out, told.err) == (status, "", f"Error: {sentence}\n")


def test_a_malformed_csv_is_refused_in_one_sentence(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "leads.csv"
    file.write_text('phone,name\n+14155550101,"Ada\n')
    told = cli("leads", "import", str(file))
    assert told.status == 1
    assert told.err.startswith("Error: A quoted cell that begins on line 2 is never closed")


def test_no_api_at_all_says_what_to_do(cli: Cli) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = replace(cli, url=url)("run", "list")
    assert told.status == 1
    assert told.err == (
        f"Error: No api answers at {url}: start one with `switchboard serve api`, or say where it is with --url or "
        "SWITCHBOARD_URL.\n"
    )


def test_something_else_than_an_api_is_recognised(cli: Cli) -> None:
    told = replace(cli, url=cli.stack.simulator_url)("run", "list")
    assert told.status == 1
    assert "not as Switchboard's api does: check --url or SWITCHBOARD_URL." in told.err


# On the database


def test_a_business_is_created_with_a_key_that_works(stack: Stack) -> None:
    created = ran(
        "business", "create", "Acme Dental", "--cap", "7", "--caller-id", "+14155550100", "--json", **stack.env
    )
    assert (created.status, created.err) == (0, "")
    cli = Cli(stack, created.json["id"], created.json["api_key"], stack.api_url)
    assert cli.ok("leads", "list") == []
    assert stack.value("SELECT call_cap FROM businesses WHERE id = %s", cli.business_id) == 7


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--timezone", "Mars/Olympus"), "TIMEZONE: Value error, is not a time zone; give an IANA name"),
        (("--cap", "-1"), "CALL_CAP: Input should be greater than or equal to 0."),
        (("--hours", "always"), "'always' are no calling hours: give them as 09:00-20:00."),
    ],
)
def test_a_wrong_setting_of_a_business_is_named(stack: Stack, options: tuple[str, ...], sentence: str) -> None:
    told = ran("business", "create", "Acme", *options, **stack.env)
    assert told.status != 0
    assert sentence in told.err
    assert "Traceback" not in told.err


def test_migrate_checks_migrates_and_then_has_nothing_to_do(empty_database_urls: DatabaseUrls) -> None:
    env = {"MIGRATION_DATABASE_URL": empty_database_urls.owner}
    check = ran("migrate", "--check", "--json", **env)
    assert (check.status, check.json["ok"]) == (3, False)
    assert check.json["pending"]
    first = ran("migrate", "--json", **env)
    assert (first.status, first.json["applied"]) == (0, check.json["pending"])
    assert "MIGRATIONS COMPLETE" in first.err
    again = ran("migrate", "--json", **env)
    assert (again.status, again.json["skipped"]) == (0, True)


def test_a_migrator_that_is_told_to_stop_leaves_at_once(empty_database_urls: DatabaseUrls) -> None:
    with psycopg.connect(empty_database_urls.owner.replace("+psycopg", "", 1)) as somebody:
        somebody.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        with started("migrate", MIGRATION_DATABASE_URL=empty_database_urls.owner) as process:
            assert process.stderr is not None
            assert next(line for line in process.stderr if "Waiting for the migration lock" in line)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)
    assert process.returncode == 130


def test_migrate_refuses_a_schema_it_cannot_live_with_by_a_status_of_its_own(database_urls: DatabaseUrls) -> None:
    with psycopg.connect(database_urls.owner.replace("+psycopg", "", 1)) as owner:
        owner.execute("UPDATE schema_state SET schema_seq = 999, min_code_seq = 999")

    told = ran("migrate", "--check", "--json", MIGRATION_DATABASE_URL=database_urls.owner)

    assert told.status == 4
    assert told.json["ok"] is False


def test_migrate_without_a_database_is_one_sentence() -> None:
    url = f"postgresql+psycopg://owner:secret@127.0.0.1:{free_port()}/none"
    told = ran("migrate", "--json", MIGRATION_DATABASE_URL=url)
    assert (told.status, told.json["ok"]) == (1, False)
    assert told.err.splitlines()[-1].startswith("Error: ")
    assert "secret" not in told.err
    assert "Traceback" not in told.err


def test_migrate_without_settings_names_the_variable() -> None:
    told = ran("migrate")
    assert told.status == 1
    assert told.err.startswith("Error: Settings are wrong. MIGRATION_DATABASE_URL: Field required.")


def test_a_service_without_settings_names_the_variable() -> None:
    told = ran("serve", "worker")
    assert told.status == 1
    assert "DATABASE_URL" in told.err
    assert "Traceback" not in told.err


# The api's description of itself


def test_the_openapi_document_is_written_and_checked(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "docs" / "openapi.json"
    assert cli("openapi", "--output", str(file), "--check").status == 1
    assert cli("openapi", "--output", str(file)).status == 0
    assert "/api/leads/import" in json.loads(file.read_text())["paths"]
    assert cli("openapi", "--output", str(file), "--check").status == 0
    file.write_text("{}")
    stale = cli("openapi", "--output", str(file), "--check")
    assert stale.err == (
        f"Error: {file} is not what the api says of itself: run `switchboard openapi --output {file}`.\n"
    )
