"""The parts of a process, for commands that an operator runs beside a live system."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from switchboard_cli.errors import CliError

if TYPE_CHECKING:
    from switchboard_core.runtime import Runtime

_WRONG_ENVIRONMENT = 2


@contextmanager
def runtime_of_environment(name: str) -> Iterator["Runtime"]:
    """Database, Redis and carrier that the environment names, as the application's role.

    Args:
        name: shown by PostgreSQL as application_name.

    Raises:
        CliError: the environment is wrong.
    """
    # Every table is made known: a verb of one domain refers to those of others.
    import switchboard_core.models  # noqa: F401
    from switchboard_core.logs import configure_logging
    from switchboard_core.runtime import make_runtime
    from switchboard_core.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        raise CliError(str(error), _WRONG_ENVIRONMENT) from None
    # Standard output is for the result, and what went wrong is said in sentences.
    configure_logging("ERROR", settings.log_format)
    runtime = make_runtime(settings, name=name)
    try:
        yield runtime
    finally:
        runtime.close()
