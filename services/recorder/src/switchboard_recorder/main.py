"""The recorder process: downloads and transcribes recordings. Nothing switches its loop off."""

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
from switchboard_recorder.jobs import process_recorder
from switchboard_recorder.retention import Retention
from switchboard_recorder.scratch import clear_abandoned
from switchboard_recorder.store import StoreError, StoreMisconfiguredError

log = get_logger(__name__)


def main() -> None:
    """Run the recorder until SIGTERM; exits with 1 where the environment is wrong."""
    try:
        settings = get_settings()
        configure_logging(settings.log_level, settings.log_format, "recorder")
        arm_from_environment(settings)
        readiness = Readiness("start")
        serve_health(readiness, settings.host, settings.metrics_port)
        recorder = process_recorder()
    except (SettingsError, PortTakenError, StoreMisconfiguredError) as error:
        sys.exit(f"switchboard recorder: {error}")
    stop = stop_on_signals()
    recorder.leave_when(stop)
    clear_abandoned()
    runtime = process_runtime()
    log.info("RECORDING WORKER STARTED", store=settings.recordings_url, engine=settings.transcription_engine)
    try:
        recorder.store.healthy()
    except StoreError as error:
        # The loop starts all the same: each recording says what is wrong, and is tried again.
        log.error("the store cannot take recordings now", reason=str(error))  # noqa: TRY400 - the sentence says it all
    if not wait_for_redis(runtime.redis, stop, readiness) or not wait_for_schema(runtime, stop, readiness):
        recorder.close()
        return
    queues = settings.queues_for(ServiceRole.RECORDER)
    name = process_name(ServiceRole.RECORDER)
    heartbeat = Heartbeat(runtime, ServiceRole.RECORDER, queues, name)
    heartbeat.start()
    retention = Retention(runtime, recorder.store)
    retention.start()
    readiness.ready()
    log.info("Recording worker loop started", queues=list(queues), worker=name)
    try:
        work(runtime, queues, name, stop)
    finally:
        readiness.wait_for("nothing: it is leaving")
        retention.stop()
        heartbeat.stop()
        recorder.close()
        runtime.close()
    log.info("recorder left")
