"""``/_sim``: scripts, faults, figures. Not part of the carrier's API, and without authentication."""

from typing import Annotated

from fastapi import APIRouter, Query

from switchboard_simulator.faults import Faults
from switchboard_simulator.ledger import Report
from switchboard_simulator.outcomes import Script
from switchboard_simulator.rest import Running

router = APIRouter(prefix="/_sim", tags=["Simulation"])


@router.post("/script", status_code=204)
async def add_scripts(scripts: Script | list[Script], simulation: Running) -> None:
    """Say what happens to calls: one script or several, for a number, a prefix, a suffix or all."""
    for script in scripts if isinstance(scripts, list) else [scripts]:
        simulation.book.add(script)


@router.post("/faults")
async def set_faults(faults: Faults, simulation: Running) -> Faults:
    """Say what goes wrong from now on; what is left out no longer does."""
    simulation.set_faults(faults)
    return faults


@router.get("/faults")
async def get_faults(simulation: Running) -> Faults:
    """Tell what goes wrong at present."""
    return simulation.dice.faults


@router.get("/report")
async def get_report(simulation: Running) -> Report:
    """Tell what the simulator has seen since its start or the last reset."""
    return simulation.ledger.report()


@router.get("/idle")
async def await_idle(
    simulation: Running,
    timeout: Annotated[float, Query(ge=0, le=600, description="seconds")] = 10.0,  # noqa: ASYNC109
) -> dict[str, bool]:
    """Wait until no call lives, no recording is being made and no callback is on its way."""
    return {"idle": await simulation.activity.wait_idle(timeout)}


@router.post("/reset", status_code=204)
async def reset(simulation: Running) -> None:
    """Forget all calls, scripts and figures; faults are those of the settings again."""
    simulation.reset()
