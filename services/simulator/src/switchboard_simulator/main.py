"""The simulator as a process: settings from the environment, one sentence when it cannot start."""

import signal
import sys
from contextlib import suppress

from pydantic import ValidationError
from pydantic_settings import SettingsError

from switchboard_core.logs import configure_logging, get_logger
from switchboard_simulator.server import CannotListenError, bind, server_for, url_host
from switchboard_simulator.settings import SimulatorSettings

logger = get_logger(__name__)


def main() -> None:
    """Run until a signal ends it.

    Raises:
        SystemExit: with a sentence on standard error, when a setting is wrong or the port is in use.
    """
    try:
        settings = SimulatorSettings()
    except SettingsError as error:
        sys.exit(f"A SIMULATOR_* setting that must be JSON is not: {error}.")
    except ValidationError as error:
        sys.exit(_sentence(error))
    configure_logging(settings.log_level, settings.log_format, service="simulator")
    try:
        listener = bind(settings)
    except CannotListenError as error:
        sys.exit(str(error))
    port = listener.getsockname()[1]
    logger.info("SIMULATOR STARTED", url=f"http://{url_host(settings.host)}:{port}", calls_per_second=settings.cps)
    # A stop that was asked for is a good end, whichever signal asked: uvicorn raises it again once it has stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        server_for(settings).run(sockets=[listener])


def _sentence(error: ValidationError) -> str:
    """Say which variable is wrong and why, without showing its value."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = "__".join(str(part) for part in first["loc"]).upper()
    if not name.startswith("LOG_"):
        name = f"SIMULATOR_{name}"
    return f"{name} is wrong: {first['msg']}."


if __name__ == "__main__":
    main()
