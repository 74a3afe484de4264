"""Nothing is lost and nothing is done twice: a slice of the fault run, which ``make faults`` does at full size."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.plan import Kind, plan
from faults.run import played
from faults.scene import FAULTS_OF_THE_CARRIER, Profile, Scene, Size, scene
from log_reading import leaks, not_json, secrets_of
from switchboard_cli.devstack import DatabaseUrls
from switchboard_core.logs import get_logger

log = get_logger(__name__)

SEED_VARIABLE = "SWITCHBOARD_TEST_SEED"
SEED = int(os.environ.get(SEED_VARIABLE, "3"))

SIZE = Size(
    leads=150,
    profiles=(Profile("One line", 1, 1), Profile("As it comes", 3, 4), Profile("Two campaigns", 6, 8, runs=2)),
    workers=2,
    # Short windows, so that what has to be waited for comes soon; none is shorter than a loaded machine's pauses.
    settings={
        "SETTLE_AFTER_SECONDS": "1",
        "UNKNOWN_OUTCOME_AFTER_SECONDS": "8",
        "DIAL_DEADLINE_SECONDS": "2",
        "LEASE_SECONDS": "3",
        "SWEEP_INTERVAL_SECONDS": "0.5",
        "CARRIER_READ_TIMEOUT_SECONDS": "3",
    },
    carrier={**FAULTS_OF_THE_CARRIER, "callback_delay_seconds": 0.5, "create_hang": 0.0},
    lease_s=3.0,
    brief=True,
)
FAULTS = 9
"""Each kind that a slice has time for, once."""


@pytest.fixture
def made(stack_folder: Path, database_urls: DatabaseUrls, redis_url: str) -> Iterator[Scene]:
    with scene(stack_folder / "faults", database_urls, redis_url, SEED, SIZE) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [SEED], ids=f"{SEED_VARIABLE}={{}}".format)
def test_campaigns_survive_every_fault_without_a_lost_or_doubled_call(made: Scene, seed: int) -> None:
    faults = plan(seed, made.cast, attempts=SIZE.leads - 20, number=FAULTS)
    log.info("faults planned", seed=seed, faults=[str(fault) for fault in faults])

    result = played(made, seed, SIZE, log.info, faults)

    assert result.figures.jobs >= SIZE.leads
    assert sum(result.figures.faults.values()) == FAULTS
    assert result.figures.faults[Kind.KILL] == 2
    assert leaks(made.stack, secrets_of(made.stack, *made.keys), made.numbers) == []
    assert [line for name in made.cast.processes for line in not_json(made.stack.log(name))] == []
