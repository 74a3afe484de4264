"""How a run and a task look while they go on."""

from typing import Any

import pytest

from switchboard_cli.output import Output
from switchboard_cli.watching import COUNTED, sight_of_run, sight_of_task, watch


def run(status: str, **counts: int) -> dict[str, Any]:
    every = dict.fromkeys((*COUNTED, "active", "total"), 0)
    return {
        "id": 3,
        "name": "Spring",
        "status": status,
        "reason": None,
        "waiting_for": None,
        "counts": every | counts,
    }


def task(**changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "job_type": "delete_leads",
        "status": "running",
        "reason": None,
        "total": 50,
        "done": 20,
        "failed": 2,
    } | changes


def test_a_run_shows_its_calls_by_status_and_how_many_live() -> None:
    sight = sight_of_run(run("running", total=9, active=3, queued=2, ringing=3, completed=3, busy=1))
    assert sight.plain == "run 3 Spring running: 4/9  active 3  queued 2  ringing 3  completed 3  busy 1"


def test_a_run_that_has_no_calls_yet_has_no_total() -> None:
    assert sight_of_run(run("pending")).plain == "run 3 Spring pending: 0/?  active 0"


def test_a_run_says_why_nothing_is_dialled() -> None:
    waiting = run("running", total=1, queued=1) | {"waiting_for": "outside the calling hours"}
    assert sight_of_run(waiting).plain.endswith("(outside the calling hours)")


def test_a_task_counts_what_failed_as_done_with() -> None:
    assert sight_of_task(task()).plain == "task 7 delete_leads running: 22/50  done 20  failed 2"


def test_each_change_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    moments = [task(), task(), task(status="completed")]
    last = watch(Output(as_json=True), moments, sight_of_task, if_stopped="")
    assert last["status"] == "completed"
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_pipe_gets_the_last_moment_however_soon_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    watch(Output(), [task(), task(done=48), task(done=48, status="completed")], sight_of_task, if_stopped="")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("task 7 delete_leads running: 22/50")
    assert lines[-1].startswith("task 7 delete_leads completed: 50/50")
