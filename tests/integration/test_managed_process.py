"""Supervision of one process: readiness, orderly and disorderly ends, and nothing left behind."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processes import wait_until_gone
from switchboard_cli.devstack import LOOPBACK, DevstackError, ManagedProcess, StartError, free_port

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")

Make = Callable[[str], ManagedProcess]

SAY_READY = "import pathlib, sys, time; pathlib.Path('ready').touch(); "


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a process that runs some Python in ``tmp_path``; whatever still runs at the end is killed."""
    made: list[ManagedProcess] = []

    def process(code: str) -> ManagedProcess:
        made.append(
            ManagedProcess(
                "sample", [sys.executable, "-u", "-c", code], dict(os.environ), tmp_path / "sample.log", cwd=tmp_path
            )
        )
        return made[-1]

    yield process
    for each in made:
        each.kill()


def test_it_is_ready_when_its_url_answers(tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", LOOPBACK, "--directory", str(tmp_path)]
    with ManagedProcess("web", argv, dict(os.environ), tmp_path / "web.log") as web:
        web.wait_ready(f"http://{LOOPBACK}:{port}/")
        assert web.running


def test_its_death_is_reported_at_once_with_the_end_of_its_log(make: Make) -> None:
    process = make("import sys; print('loading'); sys.exit('no such database')")
    process.start()
    started = time.monotonic()
    with pytest.raises(StartError, match=r"(?s)sample ended with status 1 before it was ready.*no such database"):
        process.wait_ready(lambda: False, timeout=60)
    assert time.monotonic() - started < 30


def test_the_log_tail_shows_only_the_latest_start(make: Make) -> None:
    process = make("import os; print('I am', os.getpid())")
    for _ in range(2):
        process.start()
        assert process.ended_within(10)
    assert process.log_tail() == f"I am {process.pid}"


def test_one_that_never_becomes_ready_is_reported(make: Make) -> None:
    process = make("import time; time.sleep(60)")
    process.start()
    with pytest.raises(StartError, match=r"sample was not ready within 0\.2 s"):
        process.wait_ready(lambda: False, timeout=0.2)


def test_a_program_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    process = ManagedProcess("ghost", [str(tmp_path / "ghost")], {}, tmp_path / "ghost.log")
    process.start()
    with pytest.raises(StartError, match=r"could not be started: .*No such file"):
        process.wait_ready(lambda: False)


def test_terminate_lets_it_end_in_good_order(make: Make, tmp_path: Path) -> None:
    on_term = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
    process = make(on_term + SAY_READY + "time.sleep(60)")
    process.start()
    process.wait_ready((tmp_path / "ready").exists)
    assert process.terminate() == 7


def test_terminate_kills_one_that_does_not_listen(make: Make, tmp_path: Path) -> None:
    process = make("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SAY_READY + "time.sleep(60)")
    process.start()
    process.wait_ready((tmp_path / "ready").exists)
    assert process.terminate(grace=0.1) == -signal.SIGKILL


def test_terminate_reaches_a_paused_process(make: Make, tmp_path: Path) -> None:
    process = make(SAY_READY + "time.sleep(60)")
    process.start()
    process.wait_ready((tmp_path / "ready").exists)
    process.pause()
    assert process.terminate() == -signal.SIGTERM


@on_linux
@pytest.mark.parametrize("end", [ManagedProcess.kill, ManagedProcess.terminate])
def test_its_children_end_with_it(make: Make, end: Callable[[ManagedProcess], object], tmp_path: Path) -> None:
    start_child = "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid); "
    process = make("import subprocess, sys; " + start_child + SAY_READY + "time.sleep(60)")
    process.start()
    process.wait_ready((tmp_path / "ready").exists)
    child = int(process.log_tail())
    end(process)
    wait_until_gone([process.pid, child])


@on_linux
def test_a_paused_process_does_nothing_until_it_is_resumed(make: Make, tmp_path: Path) -> None:
    process = make(SAY_READY + "time.sleep(60)")
    process.start()
    process.wait_ready((tmp_path / "ready").exists)
    process.pause()
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    process.resume()
    os.waitid(os.P_PID, process.pid, os.WCONTINUED)
    assert process.running


def test_its_pid_is_recorded_while_it_runs(make: Make) -> None:
    process = make("import time; time.sleep(60)")
    process.start()
    assert process.pid_path.read_text() == f"{process.pid}\n"
    process.kill()
    assert not process.pid_path.exists()


def test_it_is_not_started_twice(make: Make) -> None:
    process = make("import time; time.sleep(60)")
    process.start()
    with pytest.raises(DevstackError, match="sample is already running"):
        process.start()


def test_it_does_not_hear_the_terminals_interrupt(make: Make) -> None:
    process = make("import time; time.sleep(60)")
    process.start()
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_ending_one_that_was_never_started_does_nothing(make: Make) -> None:
    process = make("pass")
    assert process.terminate() is None
    assert process.kill() is None
