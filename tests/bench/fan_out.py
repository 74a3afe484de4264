"""Progress of tasks to 1,000 WebSockets: how long after its commit a change is with everybody who follows the task.

A real api process, on loopback, under uvloop as it ships. The sockets are held by a process of their own; changes are
committed here, in the way of a worker: a row of ``background_jobs``, told through Redis after its commit.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import func, update

from switchboard_cli.devstack import (
    APP_ROLE,
    EmbeddedPostgres,
    EmbeddedValkey,
    ManagedProcess,
    free_port,
    temporary_folder,
)
from switchboard_core.db import after_commit
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.states import JobStatus
from switchboard_core.migrate.runner import run_migrations
from switchboard_core.runtime import Runtime, make_runtime
from switchboard_core.settings import MigrationSettings, Settings
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key, create_business

HERE = Path(__file__).parent
START_S = 180.0


@dataclass(frozen=True)
class Scene:
    """Who follows what.

    Attributes:
        name: for people.
        tasks: running at once; the sockets are spread over them evenly.
        changes_per_s: commits a second, of all tasks together.
    """

    name: str
    tasks: int
    changes_per_s: float


SCENES = (
    Scene("20 tasks, the sockets spread over them, 20 changes/s", 20, 20.0),
    Scene("1 task, every socket on it, 1 change/s", 1, 1.0),
)


@dataclass(frozen=True)
class Lag:
    """Milliseconds from a commit until a socket shows it, or a newer one, over all commits and all their followers."""

    p50_ms: float
    p95_ms: float
    max_ms: float
    number: int


def run(sockets: int, seconds: float) -> dict[str, Lag]:
    """Measure every scene.

    Args:
        sockets: WebSockets that are open at once.
        seconds: how long tasks change in each scene.
    """
    _raise_open_files(2 * sockets + 500)
    with _servers() as bench:
        return {scene.name: bench.measure(scene, sockets, seconds) for scene in SCENES}


def _raise_open_files(wanted: int) -> None:
    """Let this process's children have that many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        if hard not in (-1, resource.RLIM_INFINITY) and hard < wanted:
            sys.exit(f"At most {hard} files may be open here, {wanted} are needed: raise `ulimit -n`.")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(frozen=True)
class _Bench:
    runtime: Runtime
    folder: Path
    api_url: str
    business_id: int
    key: str

    def measure(self, scene: Scene, sockets: int, seconds: float) -> Lag:
        """Open the sockets, change the tasks, end them."""
        tasks = self._create(scene.tasks)
        number = str(scene.tasks)
        output = self.folder / f"receipts-{number}.json"
        argv = [sys.executable, str(HERE / "fan_out_sockets.py"), self.api_url, str(sockets), str(output)]
        env = {"PATH": os.environ["PATH"], "API_KEY": self.key, "TASKS": json.dumps(tasks)}
        clients = ManagedProcess(f"sockets-{number}", argv, env, self.folder / f"sockets-{number}.log")
        clients.start()
        try:
            _await(lambda: output.with_suffix(".ready").exists(), clients)
            commits = self._change(tasks, scene.changes_per_s, seconds)
            _await(output.exists, clients)
        finally:
            clients.terminate()
        followers: list[dict[str, Any]] = json.loads(output.read_text("utf-8"))
        lags = sorted(lag for follower in followers for lag in _lags(follower, commits))
        assert len(lags) == len(commits) * sockets // scene.tasks, "a socket has missed the end of its task"
        cuts = statistics.quantiles(lags, n=100)
        return Lag(cuts[49] * 1000, cuts[94] * 1000, lags[-1] * 1000, len(lags))

    def _create(self, number: int) -> list[int]:
        with self.runtime.database.tenant(self.business_id) as session:
            return [self.runtime.tasks.create(session, "delete_leads", {}, total=100).id for _ in range(number)]

    def _change(self, tasks: list[int], changes_per_s: float, seconds: float) -> dict[tuple[int, int], float]:
        """Change the tasks in turn, and end them; returns when each change was committed."""
        commits: dict[tuple[int, int], float] = {}
        started = time.monotonic()
        for number in range(int(changes_per_s * seconds)):
            time.sleep(max(0.0, started + number / changes_per_s - time.monotonic()))
            self._commit(tasks[number % len(tasks)], commits, done=BackgroundJob.done + 1, status=JobStatus.RUNNING)
        for task_id in tasks:
            time.sleep(1 / changes_per_s)
            self._commit(task_id, commits, status=JobStatus.COMPLETED, finished_at=func.now())
        return commits

    def _commit(self, task_id: int, commits: dict[tuple[int, int], float], **values: Any) -> None:
        with self.runtime.database.tenant(self.business_id) as session:
            row = session.scalars(
                update(BackgroundJob)
                .where(BackgroundJob.id == task_id)
                .values(version=BackgroundJob.version + 1, **values)
                .returning(BackgroundJob)
            ).one()
            # The first thing that happens after the commit.
            after_commit(session, lambda: commits.update({(task_id, row.version): time.monotonic()}))
            self.runtime.tasks.publish_after_commit(session, row)


def _lags(follower: dict[str, Any], commits: dict[tuple[int, int], float]) -> Iterator[float]:
    """Of every change of the task that a socket follows: how late the socket had it. A slow one skips some."""
    seen: list[tuple[int, float]] = follower["seen"]
    for (task_id, version), committed_at in commits.items():
        if task_id == follower["task"]:
            yield from islice((at - committed_at for shown, at in seen if shown >= version), 1)


@contextmanager
def _servers() -> Iterator[_Bench]:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("switchboard-bench-"))
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey"))
        urls = postgres.create_database("bench")
        run_migrations(MigrationSettings(migration_database_url=urls.owner, app_database_role=APP_ROLE))
        runtime = make_runtime(Settings(database_url=urls.app, redis_url=valkey.url), name="bench")
        stack.callback(runtime.close)
        business = create_business(runtime.database, "Bench")
        with runtime.database.tenant(business.id) as session:
            _, key = create_api_key(session, "bench", Role.VIEWER)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": urls.app,
            "REDIS_URL": valkey.url,
            "SERVICE_ROLE": "api",
            "SWITCHBOARD_PORT": str(port),
            "PUBLIC_URL": url,
            "TWILIO_AUTH_TOKEN": "bench",
        }
        argv = [sys.executable, "-c", "from switchboard_api.main import main; main()"]
        api = ManagedProcess("api", argv, env, folder / "api.log")
        stack.callback(api.terminate)
        api.start()
        api.wait_ready(f"{url}/api/ready", START_S)
        yield _Bench(runtime, folder, url, business.id, key)


def _await(condition: Any, clients: ManagedProcess) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if not clients.running or time.monotonic() > deadline:
            raise TimeoutError(f"the sockets gave up:\n{clients.log_path.read_text('utf-8')[-2000:]}")
        time.sleep(0.02)
