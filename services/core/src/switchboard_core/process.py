"""What worker and recorder have in common as processes: waiting for servers, heartbeats, health, the work loop."""

import itertools
import json
import os
import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from switchboard_core.jobs.models import WorkerHeartbeat
from switchboard_core.jobs.rq_worker import KernelWorker
from switchboard_core.logs import get_logger
from switchboard_core.migrate.state import check_schema
from switchboard_core.redis import RedisMisconfiguredError, check_eviction, make_redis
from switchboard_core.runtime import Runtime
from switchboard_core.settings import ServiceRole
from switchboard_core.sql import db_now

log = get_logger(__name__)

FIRST_PAUSE_S = 0.5
STEADY_S = 10.0
"""A work loop that lived for so long has worked: when it ends, its pauses begin anew."""

_jitter = random.Random()  # noqa: S311 - spreads the tries of many processes, protects nothing


class PortTakenError(Exception):
    """The health port is in use; the message says what to do."""


class Readiness:
    """What a process waits for, if anything; thread-safe."""

    def __init__(self, waiting_for: str) -> None:
        self._waiting_for: str | None = waiting_for
        self._lock = threading.Lock()

    def wait_for(self, what: str) -> None:
        """Not ready: it waits for ``what``."""
        with self._lock:
            self._waiting_for = what

    def ready(self) -> None:
        """Everything is there."""
        with self._lock:
            self._waiting_for = None

    @property
    def waiting_for(self) -> str | None:
        """What it waits for; None when it is ready."""
        with self._lock:
            return self._waiting_for


def serve_health(readiness: Readiness, host: str, port: int) -> ThreadingHTTPServer:
    """Serve ``/api/health``, ``/api/ready`` and ``/metrics`` from a thread.

    Raises:
        PortTakenError: the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer a probe."""
            if self.path == "/metrics":
                self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path == "/api/health":
                self._answer(200, b'{"status":"ok"}', "application/json")
            elif self.path == "/api/ready":
                waiting = readiness.waiting_for
                body = {"status": "waiting", "waiting_for": waiting} if waiting else {"status": "ready"}
                self._answer(503 if waiting else 200, json.dumps(body).encode(), "application/json")
            else:
                self._answer(404, b'{"status":404,"title":"Not found"}', "application/problem+json")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not logged."""

    class Server(ThreadingHTTPServer):
        # ``::`` listens in a cluster that has IPv6 only.
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        msg = f"Port {port} on {host} is in use: stop what listens there or set METRICS_PORT to another port."
        raise PortTakenError(msg) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def wait_for_redis(redis: Redis, stop: threading.Event, readiness: Readiness) -> bool:
    """Wait until Redis answers and keeps what it is given; false when asked to stop first."""
    while not stop.is_set():
        try:
            check_eviction(redis)
        except RedisMisconfiguredError as error:
            readiness.wait_for(str(error))
            log.error(str(error))  # noqa: TRY400 - the sentence says it all
        except RedisError as error:
            readiness.wait_for("Redis")
            log.warning("waiting for Redis", error=type(error).__name__)
        else:
            log.info("Redis connection established")
            return True
        stop.wait(1.0)
    return False


def wait_for_schema(runtime: Runtime, stop: threading.Event, readiness: Readiness) -> bool:
    """Wait until the database has a schema that this code can live with; false when asked to stop first.

    Meanwhile the process runs no jobs and is not ready, but it stays up: a migration that is late is no crash.
    """
    said = ""
    while not stop.is_set():
        verdict = check_schema(runtime.database)
        if verdict.ok:
            log.info("database schema accepted", schema_seq=verdict.schema_seq, code_seq=verdict.code_seq)
            return True
        readiness.wait_for(verdict.sentence)
        if verdict.sentence != said:
            log.warning("waiting for the database schema", reason=verdict.sentence)
            said = verdict.sentence
        stop.wait(1.0)
    return False


class Heartbeat:
    """Says every 30 s that this process is alive, in a row that people and the clean-up of stuck runs read."""

    def __init__(self, runtime: Runtime, role: ServiceRole, queues: Sequence[str], name: str) -> None:
        self._runtime = runtime
        self._values = {"name": name, "role": role.value, "queues": list(queues)}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Send the first heartbeat and go on from a thread."""
        interval = self._runtime.settings.heartbeat_interval_seconds
        self.beat()
        self._thread.start()
        log.info(f"Heartbeat monitoring started (every {interval:.0f}s)")  # noqa: G004 - the contract's literal line

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    def beat(self) -> None:
        """Send one heartbeat; a database that is away is only logged."""
        statement = insert(WorkerHeartbeat).values(**self._values, seen_at=db_now())
        statement = statement.on_conflict_do_update(
            index_elements=["name"], set_={"seen_at": db_now(), "queues": statement.excluded.queues}
        )
        try:
            with self._runtime.database.crossing() as session:
                session.execute(statement)
        except SQLAlchemyError as error:
            log.warning("heartbeat not written", error=type(error).__name__)

    def _run(self) -> None:
        while not self._stop.wait(self._runtime.settings.heartbeat_interval_seconds):
            self.beat()


def process_name(role: ServiceRole) -> str:
    """A name for this process that no other has or had.

    A container that is started again in its pod has the same host name and the same process id, 1. With the same name
    RQ would refuse it for as long as it remembers the one that was killed.
    """
    return f"{role.value}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def pause_s(endings: int, jitter: float) -> float:
    """Seconds until a work loop that ended by itself is started again: 0.5, 1, 2, 4, 5, 5, at random down to the half.

    Args:
        endings: how often it ended in a row, this time included.
        jitter: uniform in [0, 1); processes that lost the same Redis do not all come back at once.
    """
    longest = min(KernelWorker.max_connection_wait_time, FIRST_PAUSE_S * 2.0 ** min(endings - 1, 9))
    return longest * (0.5 + jitter / 2)


def work(runtime: Runtime, queues: Sequence[str], name: str, stop: threading.Event) -> None:
    """Consume ``queues`` until ``stop``. Whatever else ends RQ's loop, a lost or a full Redis say, starts it again.

    Args:
        runtime: of the process.
        queues: highest priority first.
        name: of the process; each RQ worker adds a number.
        stop: set by SIGTERM and SIGINT, also while a slice runs.
    """
    endings = 0
    for number in itertools.count(1):
        if stop.is_set():
            return
        began = time.monotonic()
        error = _work_once(runtime, queues, f"{name}-{number}", stop)
        endings = 1 if time.monotonic() - began > STEADY_S else endings + 1
        pause = pause_s(endings, _jitter.random())
        if error is not None:
            log.warning("waiting for Redis", error=type(error).__name__, again_in_s=round(pause, 1))
        elif not stop.is_set():
            log.error("the work loop ended by itself and is started again")
        stop.wait(pause)


def _work_once(runtime: Runtime, queues: Sequence[str], name: str, stop: threading.Event) -> RedisError | None:
    """Let RQ's loop run until it ends; the trouble with Redis that ended it, if any."""
    # RQ lengthens the socket timeout of its connection; it gets one of its own.
    redis = make_redis(runtime.settings, socket_timeout_s=60.0)
    try:
        # Made here, for it speaks with Redis already.
        worker = KernelWorker(queues, redis, name=name, stopping=stop)
        try:
            worker.work(logging_level=None)
        finally:
            worker.stop_listening()
    except RedisError as error:
        return error
    finally:
        redis.close()
    return None


@lru_cache(maxsize=1)
def leaving() -> threading.Event:
    """Set once this process was asked to leave; whoever waits for long waits on it."""
    return threading.Event()


def stop_on_signals() -> threading.Event:
    """Let SIGTERM and SIGINT set ``leaving()``; the RQ worker's own handlers set it too."""
    stop = leaving()

    def leave(_signum: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    return stop
