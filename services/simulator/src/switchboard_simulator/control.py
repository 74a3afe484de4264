"""``/_sim``: scripts, faults, figures. Not part of the carrier's API, and without authentication."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from switchboard_simulator.calls import CallStatus
from switchboard_simulator.faults import Faults
from switchboard_simulator.ledger import Report
from switchboard_simulator.message_ledger import MessageReport
from switchboard_simulator.messages import MessageScript
from switchboard_simulator.outcomes import Script
from switchboard_simulator.rest import Running


class Inbound(BaseModel):
    """A message that somebody sends to one of the customer's numbers.

    Attributes:
        url: the customer's webhook; left out, that of the settings.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: str = Field(alias="from", pattern=r"^\+[1-9][0-9]{6,14}$")
    to: str = Field(pattern=r"^\+[1-9][0-9]{6,14}$")
    body: str = Field(max_length=1600)
    url: HttpUrl | None = None


class CallSeen(BaseModel):
    """When a call began and ended, to hold against what the customer wrote down. Times are seconds since the epoch.

    Attributes:
        attempt: in the query of the status callback's URL; None: there was none.
        ended_at: None: it still lives.
    """

    sid: str
    attempt: str | None
    status: CallStatus
    created_at: float
    ended_at: float | None


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


@router.get("/calls")
async def get_calls(simulation: Running) -> list[CallSeen]:
    """Tell when each call since the start or the last reset began and ended, oldest first."""
    return [
        CallSeen(
            sid=call.sid,
            attempt=call.request.label("attempt"),
            status=call.status,
            created_at=call.created_at,
            ended_at=call.ended_at,
        )
        for call in simulation.engine.register.calls()
    ]


@router.post("/messages/script", status_code=204)
async def add_message_scripts(scripts: MessageScript | list[MessageScript], simulation: Running) -> None:
    """Say what becomes of messages: one script or several, for a number, a prefix, a suffix or all."""
    for script in scripts if isinstance(scripts, list) else [scripts]:
        simulation.message_engine.book.add(script)


@router.post("/messages/inbound")
async def send_inbound(message: Inbound, simulation: Running) -> dict[str, str]:
    """Let somebody send a message, ``STOP`` say, to one of the customer's numbers."""
    url = message.url or simulation.settings.message_webhook
    if url is None:
        raise HTTPException(409, "Nobody is told of messages: set SIMULATOR_MESSAGE_WEBHOOK, or name a url.")
    account = simulation.settings.account_sid
    sid = simulation.message_engine.receive(
        account, from_=message.from_, to=message.to, body=message.body, url=str(url)
    )
    return {"sid": sid}


@router.get("/messages/report")
async def get_message_report(simulation: Running) -> MessageReport:
    """Tell what the simulator has seen of messages since its start or the last reset."""
    return simulation.message_ledger.report()


@router.get("/idle")
async def await_idle(
    simulation: Running,
    timeout: Annotated[float, Query(ge=0, le=600, description="seconds")] = 10.0,  # noqa: ASYNC109
) -> dict[str, bool]:
    """Wait until no call lives, no message is under way, no recording is being made and no callback is on its way."""
    return {"idle": await simulation.activity.wait_idle(timeout)}


@router.post("/reset", status_code=204)
async def reset(simulation: Running) -> None:
    """Forget all calls, messages, scripts and figures; faults are those of the settings again."""
    simulation.reset()
