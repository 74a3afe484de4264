"""The worker process: consumes its queues, sweeps, and says that it is alive."""

import sys

from switchboard_core.failpoints import arm_from_environment
from switchboard_core.logs import configure_logging, get_logger
from switchboard_core.process import (
    Heartbeat,
    PortTakenError,
    Readiness,
    process_name,
    serve_health,
    stop_on_signals,
    wait_for_redis,
    wait_for_schema,
    work,
)
from switchboard_core.runtime import process_runtime
from switchboard_core.settings import ServiceRole, SettingsError, get_settings
from switchboard_worker.sweep import Sweep

log = get_logger(__name__)


def main() -> None:
    """Run the worker until SIGTERM; exits with 1 where the environment is wrong."""
    try:
        settings = get_settings()
        configure_logging(settings.log_level, settings.log_format, "worker")
        arm_from_environment(settings)
        readiness = Readiness("start")
        serve_health(readiness, settings.host, settings.metrics_port)
    except (SettingsError, PortTakenError) as error:
        sys.exit(f"switchboard worker: {error}")
    stop = stop_on_signals()
    runtime = process_runtime()
    if not wait_for_redis(runtime.redis, stop, readiness) or not wait_for_schema(runtime, stop, readiness):
        return
    queues = settings.queues_for(ServiceRole.WORKER)
    name = process_name(ServiceRole.WORKER)
    log.info("WORKER QUEUES CONFIGURATION", queues=list(queues), worker=name)
    heartbeat, sweep = Heartbeat(runtime, ServiceRole.WORKER, queues, name), Sweep(runtime)
    heartbeat.start()
    sweep.start()

    readiness.ready()
    try:
        work(runtime, queues, name, stop)
    finally:
        readiness.wait_for("nothing: it is leaving")
        sweep.stop()
        heartbeat.stop()
        runtime.close()
    log.info("worker left")
