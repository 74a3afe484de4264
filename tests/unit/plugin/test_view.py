"""The screen in each situation, read as somebody who was just woken reads it."""

from dataclasses import replace

import pytest
from rich.table import Table

from kubectl_switchboard import view
from kubectl_switchboard.gaps import Gap
from kubectl_switchboard.resource import Resource
from unit.plugin.situations import NOW, SITUATIONS, load, one_line, overview_of, printed, section


def test_one_that_is_ready_leaves_nothing_to_do() -> None:
    screen = printed(overview_of("ready"))
    assert "main in namespace ready   ✔ Ready for" in screen
    assert "Release 1.0.0: completely rolled out. Every role has pods that serve." in screen
    assert section(screen, "What to do").strip() == "Nothing: all is as it should be."
    assert "Migration" not in screen.splitlines()


def test_a_failed_migration_comes_first_with_its_remedy() -> None:
    screen = printed(overview_of("migration-failed"))
    advice = one_line(section(screen, "What to do"))
    assert screen.splitlines()[0].startswith("Switchboard main in namespace migration-failed   ✘ Not ready")
    assert "The migration to release 1.1.0 failed. Attempt 1 of 1 failed with exit code 1." in advice
    assert "`kubectl switchboard retry main -n migration-failed`" in advice
    assert "Release 1.0.0 goes on serving meanwhile." in advice
    assert "$ kubectl logs --namespace migration-failed pod/main-migrate-2-expand-1-" in advice
    assert "$ kubectl switchboard retry main -n migration-failed --wait" in advice


def test_a_failed_migration_shows_its_attempt_exit_code_and_last_words() -> None:
    migration = section(printed(overview_of("migration-failed")), "Migration")
    assert "Transition 2 to release 1.1.0: expand phase, before the roll-out, failed, run 1" in migration
    assert "Attempt 1 of 1 failed, exit code 1." in migration
    assert "│ Migration 105 failed." in migration


def test_the_lines_of_a_log_are_shown_once() -> None:
    lines = "ERROR relation leads does not exist\nERROR rolled back"
    failure = {"message": lines}
    said = f"The migration to release 1.1.0 failed. Attempt 1 of 1 failed with exit code 1: {lines}\nLog: L\nCorrect it"
    conditions = [
        each | {"message": said} if each["type"] == "Degraded" else each
        for each in load("migration-failed")["switchboard"]["status"]["conditions"]
    ]
    status = {"gate": {"failure": failure | {"logCommand": "L"}}, "conditions": conditions, "lastError": None}
    shown = replace(overview_of("migration-failed", status=status), events=())
    assert printed(shown).count("relation leads does not exist") == 1


def test_a_retry_that_comes_by_itself_asks_nothing_of_anybody() -> None:
    screen = printed(overview_of("retrying"))
    assert "Attempt 2 of 4 failed with exit code 1." in section(screen, "What to do")
    assert "It is tried again by itself; nothing is to be done yet." in screen
    assert "switchboard retry" not in screen


def test_a_refused_release_says_that_the_other_one_serves() -> None:
    advice = one_line(section(printed(overview_of("refused")), "What to do"))
    assert "Release 1.0.0 does not fit the database." in advice
    assert "Release 1.2.0 goes on serving meanwhile." in advice


def test_the_first_release_that_fails_says_that_nothing_runs() -> None:
    screen = printed(overview_of("first-failed"))
    assert "Release 1.0.0 is wanted; nothing runs yet." in screen
    assert "Nothing runs yet: this is the first release." in section(screen, "What to do")


def test_a_missing_secret_comes_with_the_command_that_makes_it() -> None:
    advice = one_line(section(printed(overview_of("secret-missing"), width=200), "What to do"))
    command = "kubectl create secret generic twilio -n secret-missing --from-literal=accountSid=... "
    assert command + "--from-literal=authToken=..." in advice


def test_an_image_that_cannot_be_had_names_the_pod() -> None:
    advice = one_line(section(printed(overview_of("image-missing")), "What to do"))
    assert "cannot get its image (ErrImagePull: not found). Check the image's name and tag" in advice
    assert "$ kubectl describe pod main-migrate-2-check-1-" in advice
    assert "$ kubectl edit switchboards.switchboard.dev main -n" in advice


def test_a_pause_says_how_it_ends() -> None:
    screen = printed(overview_of("paused"))
    assert "PAUSED" in screen.splitlines()[1]
    assert "$ kubectl switchboard resume main -n paused" in section(screen, "What to do")


def test_a_roll_out_is_waited_for_and_shows_which_pods_are_old() -> None:
    screen = printed(overview_of("progressing"))
    assert "… Not ready: RollingOut" in screen.splitlines()[0]
    assert "Release 1.1.0: its workers are rolled out now." in screen
    assert "Nothing to do but wait:" in section(screen, "What to do")
    assert "1.1.0 (1 old)" in section(screen, "Roles")


def test_one_that_no_operator_has_seen_asks_for_the_operator() -> None:
    advice = one_line(section(printed(overview_of("unseen")), "What to do"))
    assert "does the operator run, and does it watch namespace unseen?" in advice


def test_a_spec_that_is_newer_than_the_status_is_not_called_ready() -> None:
    shown = overview_of("ready", metadata={"generation": 9})
    assert not shown.resource.is_ready
    assert "Not ready: NotObserved" in printed(shown)
    assert "The operator has not looked at the newest spec yet" in printed(shown)


def test_a_failed_contract_phase_shows_that_the_release_serves() -> None:
    failure = {"attempt": 4, "maxAttempts": 4, "exitCode": 1, "message": "lock timeout", "logCommand": "kubectl logs x"}
    contract = {"state": "Failed", "run": 1, "failure": failure}
    words = "The contract phase of release 1.0.0 failed. Attempt 4 of 4 failed with exit code 1: lock timeout\n"
    advice = "Log: kubectl logs x\nThe release serves; correct the cause, then `kubectl switchboard retry`."
    degraded = {"type": "Degraded", "status": "True", "reason": "ContractFailed", "message": words + advice}
    conditions = [
        degraded if each["type"] == "Degraded" else each
        for each in load("ready")["switchboard"]["status"]["conditions"]
    ]
    status = {"applied": {"stage": "contract", "contract": contract}, "conditions": conditions}
    screen = printed(overview_of("ready", status=status))
    assert "The release serves; correct the cause, then `kubectl switchboard retry main -n ready`." in screen
    assert "│ lock timeout" in section(screen, "Migration")


def test_each_pool_has_its_replicas_limits_and_runnable_work() -> None:
    rows = section(printed(overview_of("ready", runnable={"calls": 14, "bulk": 0, "recorder": 3})), "Roles")
    cells = [line.split() for line in rows.splitlines()[2:]]
    assert cells[0] == ["api", "2/2", "2", "0", "1.0.0"]
    assert cells[1] == ["worker", "calls", "1/1", "1-20", "14", "0", "1.0.0", "high,", "default"]
    assert cells[-1] == ["recorder", "1/1", "1-10", "3", "0", "1.0.0", "recordings"]


def test_a_pool_that_the_spec_no_longer_has_is_leaving() -> None:
    workers = load("ready")["switchboard"]["spec"]["workers"][:1]
    assert "leaving" in section(printed(overview_of("ready", spec={"workers": workers})), "Roles")


def test_what_could_not_be_read_is_one_line_at_the_end() -> None:
    gaps = (Gap("Events", "list events", "forbidden"), Gap("runnable work", "", "no pod answers"))
    screen = printed(overview_of("ready", gaps=gaps))
    assert screen.splitlines()[-1] == "Not shown: Events (needs: list events); runnable work (no pod answers)."


def test_what_would_steer_a_terminal_is_left_out() -> None:
    failure = {"message": "\x1b[2Jgone\x07"}
    screen = printed(overview_of("migration-failed", status={"gate": {"failure": failure}}))
    assert "\x1b" not in screen
    assert "│  [2Jgone" in screen


def test_brackets_in_a_log_are_text() -> None:
    failure = {"message": "[red]not markup[/red]"}
    screen = printed(overview_of("migration-failed", status={"gate": {"failure": failure}}))
    assert "[red]not markup[/red]" in screen


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_screen_fits_a_terminal_of_eighty_columns(situation: str) -> None:
    assert max(len(line) for line in printed(overview_of(situation), width=80).splitlines()) <= 80


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_list_has_a_line_for_each(situation: str) -> None:
    table = view.listing([Resource(load(situation)["switchboard"])] * 2, NOW, namespaces=True)
    assert isinstance(table, Table)
    assert table.row_count == 2


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172800, "2d"), (-5, "0s")]
)
def test_an_age_is_written_as_kubectl_writes_it(seconds: int, shown: str) -> None:
    then = NOW.fromtimestamp(NOW.timestamp() - seconds, NOW.tzinfo)
    assert view.age(then, NOW) == shown
