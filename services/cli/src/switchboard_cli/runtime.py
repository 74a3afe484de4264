"""The parts of a process, for commands that an operator runs beside a live system."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from switchboard_cli.errors import CliError

if TYPE_CHECKING:
    from switchboard_core.db import Database
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


@contextmanager
def database_of_environment() -> Iterator["Database"]:
    """The database that DATABASE_URL names, as the application's role.

    Raises:
        CliError: the environment is wrong.
    """
    from switchboard_core.db import Database, make_engine
    from switchboard_core.logs import configure_logging
    from switchboard_core.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        raise CliError(str(error)) from None
    # The audit log in the database has what was done; standard output is for the result.
    configure_logging("WARNING", settings.log_format)
    database = Database(make_engine(settings, application_name="switchboard-cli"))
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def database_troubles(status: int = 1) -> Iterator[None]:
    """The block asks the database; what the environment or a missing migration is to blame for is said in a sentence.

    Args:
        status: of the exit.

    Raises:
        CliError: the database does not answer or was not migrated.
    """
    from sqlalchemy.exc import OperationalError, ProgrammingError

    try:
        yield
    except OperationalError:
        msg = "The database does not answer: check that it runs and what DATABASE_URL says."
        raise CliError(msg, status) from None
    except ProgrammingError:
        msg = "The database was not migrated to this release: run `switchboard migrate` first."
        raise CliError(msg, status) from None
