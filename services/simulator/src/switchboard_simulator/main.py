"""The simulator as a process: settings from the environment, one sentence when it cannot start."""

import sys

from pydantic import ValidationError

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
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "__".join(str(part) for part in first["loc"]).upper().removeprefix("SIMULATOR_")
        sys.exit(f"SIMULATOR_{name} is wrong: {first['msg']}.")
    configure_logging(settings.log_level, settings.log_format, service="simulator")
    try:
        listener = bind(settings)
    except CannotListenError as error:
        sys.exit(str(error))
    port = listener.getsockname()[1]
    logger.info("SIMULATOR STARTED", url=f"http://{url_host(settings.host)}:{port}", calls_per_second=settings.cps)
    server_for(settings).run(sockets=[listener])


if __name__ == "__main__":
    main()
