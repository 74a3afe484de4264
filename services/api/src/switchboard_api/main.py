"""The api as a process: ``switchboard serve api``."""

import gc
import logging
import os
import signal
import sys
import threading
from types import FrameType

from switchboard_api.app import create_app
from switchboard_api.server import CannotListenError, bind, server_for
from switchboard_core.failpoints import arm_from_environment
from switchboard_core.logs import configure_logging, get_logger
from switchboard_core.runtime import make_runtime
from switchboard_core.settings import SettingsError, load_settings

log = get_logger(__name__)

YOUNG_OBJECTS = 50_000
"""So many new objects, some megabytes, make the garbage collector look: after fewer, what is under way seems old."""


def main() -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SystemExit: with a sentence on standard error, when a setting is wrong or the port is in use.
    """
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format, service="api")
        arm_from_environment(settings)
        listener = bind(settings.host, settings.port)
    except (SettingsError, CannotListenError) as error:
        sys.exit(str(error))
    runtime = make_runtime(settings, name="switchboard-api")
    host, port = listener.getsockname()[:2]
    log.info("API STARTED", host=host, port=port, role=str(settings.service_role or "none"))
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal once more when it has ended: then it means to leave, not to be killed.
        signal.signal(number, _end)
    app = create_app(runtime)
    _spare_what_stays()
    try:
        server_for(app).run(sockets=[listener])
    finally:
        runtime.close()
        log.info("API STOPPED")
        _leave()


def _spare_what_stays() -> None:
    """Hide what was loaded from the garbage collector, and let it look less often.

    A full pass stops the event loop: over everything that the imports made, beside a thousand sockets, it took half a
    second every few seconds, by which everybody's live progress was late.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _leave() -> None:
    """End the process although a thread may still wait, for the migration lock or a slow statement.

    Python would wait for it. PostgreSQL rolls back what such a thread had begun.
    """
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
