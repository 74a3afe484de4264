"""What the api does behind its first requests: migrate where it was told to, wait for the database, clean up once.

None of it may stop or crash the process: until it is done, ``GET /api/ready`` says what is missing.
"""

import asyncio
from collections.abc import Callable

import anyio.to_thread
from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from switchboard_core.calls.startup import StartupCleanup
from switchboard_core.logs import get_logger
from switchboard_core.migrate import MigrationError, check_schema, run_migrations
from switchboard_core.runtime import Runtime
from switchboard_core.settings import MigrationSettings, ServiceRole, describe

log = get_logger(__name__)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0


class Startup:
    """The steps of one process's start.

    Attributes:
        waiting_for: what keeps the process from being ready, for people; None: nothing of the start does.
    """

    def __init__(self, runtime: Runtime, *, first_wait_s: float = FIRST_WAIT_S) -> None:
        self._runtime = runtime
        self._first_wait_s = first_wait_s
        self._cleanup = StartupCleanup(runtime)
        self.is_api = runtime.settings.service_role is ServiceRole.API
        self.migrates = self.is_api and runtime.settings.run_migrations
        self.waiting_for: str | None = "The migrations have not begun yet." if self.migrates else None

    async def run(self) -> None:
        """Go through all steps, however long the database takes."""
        if self.migrates:
            await self._until(self._migrate)
            self.waiting_for = None
        if self.is_api:
            await self._until(self._clean_up)

    async def _until(self, step: Callable[[], bool]) -> None:
        wait_s = self._first_wait_s
        # Abandoned when the process is told to leave: nothing waits for a lock that somebody else holds.
        while not await anyio.to_thread.run_sync(step, abandon_on_cancel=True):
            await asyncio.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)

    def _migrate(self) -> bool:
        try:
            run_migrations(MigrationSettings())
        except ValidationError as error:
            return self._not_migrated(f"RUN_MIGRATIONS is set, but settings are wrong. {describe(error)}.")
        except MigrationError as error:
            return self._not_migrated(str(error))
        except Exception:
            # Whatever went wrong, the process stays up and says so in its readiness.
            log.exception("migration failed")
            return self._not_migrated("The migration failed; the log of this process says why.")
        return True

    def _not_migrated(self, reason: str) -> bool:
        self.waiting_for = reason
        log.warning("not migrated yet; trying again", reason=reason)
        return False

    def _clean_up(self) -> bool:
        verdict = check_schema(self._runtime.database)
        if not verdict.ok:
            log.warning("waiting for the database", reason=verdict.sentence)
            return False
        try:
            self._cleanup.run()
        except (SQLAlchemyError, RedisError) as error:
            log.warning("startup cleanup not finished; trying again", error=type(error).__name__)
            return False
        except Exception:
            # A fault in it must not be repeated for ever: the sweep settles silent calls, mends stuck runs and rebuilds
            # slots all the same.
            log.exception("startup cleanup failed")
        return True
