"""`switchboard demo` as a person runs it: to its end, interrupted in the middle, and on a machine in its way."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import wait_until_gone
from switchboard_cli.devstack import LOOPBACK, temporary_folder

EXAMPLE = Path(__file__).parents[2] / "examples" / "leads.csv"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo makes its folders, so that what it leaves behind can be seen."""
    with temporary_folder("switchboard-tests-") as folder:
        yield folder


def demo(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "switchboard_cli", "demo", "--leads", str(EXAMPLE), *arguments],
        env={**os.environ, "TMPDIR": str(temporary), "DATABASE_URL": "postgresql://somewhere.else/entirely"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def descendants(pid: int) -> set[int]:
    """Processes that this one started, and those they started."""
    children = {
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    }
    return children.union(*(descendants(child) for child in children))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_runs_a_campaign_to_its_end_and_says_what_happened(temporary: Path) -> None:
    with demo(temporary, "--calls", "20") as process:
        told, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, ""), told
    assert re.search(
        r"^Import: \d+ rows, \d+ leads created, \d+ duplicates, \d+ rejected, \d+ do-not-call$", told, re.MULTILINE
    )
    assert re.search(r"^  line \d+: phone: ", told, re.MULTILINE), "no rejected row is explained"
    outcomes = re.findall(r"^ +(\d+)  [a-z]", told, re.MULTILINE)
    assert sum(map(int, outcomes)) == 20
    assert re.search(r"^Recordings: \d+ ", told, re.MULTILINE)
    assert re.search(r"^Transcripts: \d+, \d+% of the words understood", told, re.MULTILINE)
    assert (
        len(re.findall(r"^  said   \S", told, re.MULTILINE)) == len(re.findall(r"^  heard  ", told, re.MULTILINE)) > 0
    )
    most = re.search(r"(\d+) at once at most \(cap (\d+)\), 0 placed twice$", told, re.MULTILINE)
    assert most is not None
    assert 0 < int(most[1]) <= int(most[2])
    assert "The campaign is completed" in told
    assert list(temporary.iterdir()) == []


@on_linux
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_interrupted_demo_leaves_no_process_and_no_folder(temporary: Path) -> None:
    with demo(temporary, "--calls", "20") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(line.startswith("Calling 20 leads") for line in process.stdout)
        started = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == "Stopped; nothing was left behind.\n"
    assert len(started) >= 8, "PostgreSQL, Valkey, the simulator, two workers, two recorders and the api"
    wait_until_gone(started, timeout=1)
    assert process.returncode == 130
    assert list(temporary.iterdir()) == []


@on_linux
@pytest.mark.timeout(120)
def test_a_demo_told_to_stop_while_it_starts_leaves_nothing_either(temporary: Path) -> None:
    with demo(temporary) as process:
        assert process.stdout is not None
        assert any("starting migrations" in line for line in process.stdout)
        started = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    wait_until_gone(started, timeout=1)
    assert process.returncode == 130
    assert list(temporary.iterdir()) == []


def test_a_port_in_use_is_one_sentence(temporary: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with demo(temporary, "--port", str(port)) as process:
            _, complaints = process.communicate()
    assert process.returncode == 1
    assert complaints.startswith(f"Error: Port {port}, wanted by the api, is already in use: stop the program")
    assert "Traceback" not in complaints


def test_leads_that_are_not_there_are_one_sentence(temporary: Path) -> None:
    with demo(temporary, "--leads", str(temporary / "none.csv")) as process:
        told, complaints = process.communicate()
    assert (process.returncode, told) == (1, "")
    assert complaints == f"Error: {temporary}/none.csv cannot be read: No such file or directory.\n"
