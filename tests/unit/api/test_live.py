"""The newest change wins; a slow client skips what came in between."""

import asyncio
from datetime import UTC, datetime

from switchboard_api.live import Newest
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.jobs.states import JobStatus


def change(version: int) -> TaskSnapshot:
    return TaskSnapshot(
        id=1,
        business_id=1,
        job_type="delete_leads",
        queue="maintenance",
        status=JobStatus.RUNNING,
        total=None,
        done=version,
        failed=0,
        errors=[],
        version=version,
        created_at=datetime(2026, 1, 26, tzinfo=UTC),
    )


async def taken(newest: Newest) -> int | None:
    got = await newest.take(0.01)
    return got.version if got else None


def test_only_the_newest_of_several_changes_is_taken() -> None:
    async def scenario() -> tuple[int | None, int | None]:
        newest = Newest()
        for version in (2, 4, 3):
            await newest.offer(change(version))
        return await taken(newest), await taken(newest)

    assert asyncio.run(scenario()) == (4, None)


def test_what_was_seen_is_not_taken_again() -> None:
    async def scenario() -> int | None:
        newest = Newest()
        newest.seen_version = 5
        await newest.offer(change(5))
        return await taken(newest)

    assert asyncio.run(scenario()) is None


def test_a_change_that_was_overtaken_while_it_waited_is_not_taken() -> None:
    async def scenario() -> int | None:
        newest = Newest()
        await newest.offer(change(2))
        newest.seen_version = 3
        return await taken(newest)

    assert asyncio.run(scenario()) is None


def test_a_change_wakes_who_waits() -> None:
    async def scenario() -> int | None:
        newest = Newest()
        waiting = asyncio.create_task(newest.take(10))
        await asyncio.sleep(0)
        await newest.offer(change(2))
        got = await waiting
        return got.version if got else None

    assert asyncio.run(scenario()) == 2
