"""The script of ``helm test``, run against real services on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from charts.scripts import FOLDER
from stack import Stack, running_stack
from switchboard_cli.devstack import DatabaseUrls

_WITHIN_S = 90.0


@pytest.fixture
def stack(tmp_path: Path, database_urls: DatabaseUrls, redis_url: str) -> Iterator[Stack]:
    """Simulator, worker, recorder and api."""
    with running_stack(tmp_path, database_urls, redis_url) as found:
        yield found


def run_script(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    command = [sys.executable, str(FOLDER / "place_call.py")]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=_WITHIN_S, check=False
    )


@pytest.mark.timeout(300)
def test_a_call_is_placed_answered_and_recorded(stack: Stack) -> None:
    done = run_script(
        stack.folder, DATABASE_URL=stack.urls.app, SWITCHBOARD_URL=stack.api_url, SIMULATOR_URL=stack.simulator_url
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED" in done.stdout
    assert stack.value("SELECT count(*) FROM recordings WHERE status = 'completed'") == 1


def test_a_carrier_that_is_not_there_fails_the_test_before_anything_is_made(tmp_path: Path) -> None:
    done = run_script(tmp_path, SIMULATOR_URL="http://127.0.0.1:9")

    assert done.returncode == 1
    assert "FAILED: " in done.stdout
    assert "Connection refused" in done.stdout
