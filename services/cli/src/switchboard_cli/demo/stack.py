"""Every part of Switchboard as a process of its own, started in the operator's order and stopped in reverse."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from switchboard_cli.demo.environment import Addresses, CarrierAccount, for_migration, for_service, for_simulator, kept
from switchboard_cli.devstack import (
    LOOPBACK,
    EmbeddedPostgres,
    EmbeddedValkey,
    ManagedProcess,
    StartError,
    free_port,
    require_free_port,
)
from switchboard_cli.stopping import ignore_stops

WORKERS = 2
# Transcription keeps one core busy per recorder.
RECORDERS = 2
_MIGRATION_S = 120.0
_READY_S = 60.0

Say = Callable[[str], None]


class DemoStack:
    """The running demo.

    Attributes:
        at: where everything is.
        logs: folder of the logs, a file for each process.
    """

    def __init__(self, at: Addresses, logs: Path, account: CarrierAccount, cleanup: ExitStack) -> None:
        self.at = at
        self.logs = logs
        self._account = account
        self._cleanup = cleanup
        self._processes: list[ManagedProcess] = []
        self._base = kept(os.environ)

    def start(self, name: str, arguments: list[str], env: dict[str, str]) -> ManagedProcess:
        """Start ``switchboard`` with arguments as a process that is stopped at the end.

        Args:
            name: of the process and of its log.
            arguments: of the command.
            env: its variables, beside those that all have.
        """
        process = ManagedProcess(
            name,
            [sys.executable, "-m", "switchboard_cli", *arguments],
            self._base | env,
            self.logs / f"{name}.log",
            # Away from the person's folder, whose .env is meant for another installation.
            cwd=self.logs,
        )
        self._cleanup.callback(process.terminate)
        self._processes.append(process)
        process.start()
        return process

    def serve(self, role: str, name: str, port: int) -> tuple[ManagedProcess, str]:
        """Start a service; returns it and the URL that says when it is ready."""
        process = self.start(name, ["serve", role], for_service(role, port, self._account, self.at))
        return process, f"http://{LOOPBACK}:{port}/api/ready"

    def migrate(self) -> None:
        """Run ``switchboard migrate`` to its end.

        Raises:
            StartError: it failed.
        """
        process = self.start("migrate", ["migrate"], for_migration(self.at))
        ended = process.ended_within(_MIGRATION_S)
        if not ended or process.returncode != 0:
            how = f"ended with status {process.returncode}" if ended else f"took longer than {_MIGRATION_S:g} s"
            raise StartError(f"The migration {how}", process.log_path, process.log_tail())
        self._processes.remove(process)

    def require_alive(self) -> None:
        """Check that no process has ended by itself.

        Raises:
            StartError: one has; carries the end of its log.
        """
        for process in self._processes:
            if not process.running:
                reason = f"The {process.name} ended by itself with status {process.returncode}"
                raise StartError(reason, process.log_path, process.log_tail())

    def stop_all(self) -> None:
        """Ask all services to stop, at once: each gets its time, but nobody waits for the others' time to begin."""
        for process in self._processes:
            if process.running:
                process.send(signal.SIGTERM)


@contextmanager
def running_demo_stack(folder: Path, logs: Path, *, api_port: int | None, say: Say) -> Iterator[DemoStack]:
    """Start servers and services, and stop all of them at the end, whatever ends it.

    Args:
        folder: for data.
        logs: for logs.
        api_port: where the api listens; None for any free port.
        say: told what is being started.

    Raises:
        DevstackError: something cannot be started; says what and why.
    """
    if api_port is not None:
        require_free_port(api_port, "the api")
    account, simulator_port = CarrierAccount(), free_port()
    api_port = api_port or free_port()
    with ExitStack() as cleanup:
        postgres = EmbeddedPostgres(folder / "postgres", fsync=False)
        valkey = EmbeddedValkey(folder / "valkey")
        # Before the start: a start that is interrupted half way leaves something to stop, too.
        cleanup.callback(postgres.stop)
        cleanup.callback(valkey.stop)
        say("PostgreSQL and Valkey, from wheels, in a temporary folder")
        postgres.start()
        valkey.start()
        at = Addresses(
            database=postgres.app_url,
            owner_database=postgres.owner_url,
            redis=valkey.url,
            api=f"http://{LOOPBACK}:{api_port}",
            simulator=f"http://{LOOPBACK}:{simulator_port}",
            recordings=folder / "recordings",
        )
        stack = DemoStack(at, logs, account, cleanup)
        try:
            simulator = stack.start("simulator", ["serve", "simulator"], for_simulator(account, simulator_port))
            _start_services(stack, api_port, say)
            simulator.wait_ready(f"{at.simulator}/_sim/report", _READY_S)
            yield stack
        finally:
            ignore_stops()
            stack.stop_all()


def _start_services(stack: DemoStack, api_port: int, say: Say) -> None:
    """In the operator's order: the database is migrated before anything else runs, the api comes last."""
    say("migrations")
    stack.migrate()
    say(f"{WORKERS} workers and {RECORDERS} recorders")
    started = [stack.serve("worker", f"worker-{number}", free_port()) for number in range(1, WORKERS + 1)]
    started += [stack.serve("recorder", f"recorder-{number}", free_port()) for number in range(1, RECORDERS + 1)]
    for process, ready_url in started:
        process.wait_ready(ready_url, _READY_S)
    say("the api")
    api, ready_url = stack.serve("api", "api", api_port)
    api.wait_ready(ready_url, _READY_S)
