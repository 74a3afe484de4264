"""Twilio's REST API, version 2010-04-01, as far as text messages go."""

import re
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from switchboard_simulator import errors
from switchboard_simulator.errors import TwilioError, not_found
from switchboard_simulator.messages import Message
from switchboard_simulator.parameters import Form, parse_message
from switchboard_simulator.register import Moment
from switchboard_simulator.representation import Json, message_json, page_json
from switchboard_simulator.rest import DEFAULT_PAGE_SIZE, Account, Page, PageSize, Running

_TOKEN = re.compile(r"PA(\d{1,18})")

router = APIRouter(prefix="/2010-04-01/Accounts/{account_sid}", tags=["Twilio REST API"])


def wanted_message(message_sid: str, account: Account, simulation: Running, request: Request) -> Message:
    """Return the message in the path.

    Raises:
        TwilioError: the account has no such message (20404).
    """
    message = simulation.message_engine.room.message(account, message_sid)
    if message is None:
        raise not_found(request.url.path)
    return message


@router.post("/Messages.json", status_code=201)
async def create_message(account: Account, simulation: Running, request: Request) -> Json:
    """Accept a message."""
    return message_json(simulation.message_engine.create(account, parse_message(Form(await request.body()))))


@router.get("/Messages/{message_sid}.json")
async def fetch_message(message: Annotated[Message, Depends(wanted_message)]) -> Json:
    """Show a message."""
    return message_json(message)


@router.get("/Messages.json")
async def list_messages(
    account: Account,
    simulation: Running,
    request: Request,
    page: Page = 0,
    size: PageSize = DEFAULT_PAGE_SIZE,
) -> Json:
    """List messages, newest first, by To, From and DateSent."""
    query = request.query_params
    before = _index_of(query.get("PageToken"))
    wanted = _wanted(simulation.message_engine.room.newest(account), dict(query))
    return page_json(
        key="messages",
        path=request.url.path,
        query=[(name, value) for name, value in query.multi_items() if not name.startswith("Page")],
        page=page,
        size=size,
        rows=((f"PA{found.index}", message_json(found)) for found in wanted if before is None or found.index < before),
    )


def _index_of(token: str | None) -> int | None:
    if token is None:
        return None
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise TwilioError(400, errors.INVALID_PARAMETER, "PageToken is not one that a page of messages gave out.")
    return int(found[1])


def _wanted(messages: list[Message], query: dict[str, str]) -> Iterator[Message]:
    """Return the messages that the filters of a list accept; one that was not sent yet has no date to go by."""
    try:
        on, before, after = (
            Moment.parse(query[name]) if query.get(name) else None for name in ("DateSent", "DateSent<", "DateSent>")
        )
    except ValueError as error:
        sentence = "DateSent must be a date (2026-01-26) or a date with a time (2026-01-26T11:05:20Z)."
        raise TwilioError(400, errors.INVALID_PARAMETER, sentence) from error
    to, from_ = query.get("To"), query.get("From")

    def sent_when_asked(sent_at: float | None) -> bool:
        if (on, before, after) == (None, None, None):
            return True
        if sent_at is None:
            return False
        second = int(sent_at)
        return (
            (on is None or on.first <= second <= on.last)
            and (before is None or second <= before.last)
            and (after is None or second >= after.first)
        )

    return (
        message
        for message in messages
        if (to is None or message.request.to == to)
        and (from_ is None or message.request.from_ == from_)
        and sent_when_asked(message.sent_at)
    )
