"""Calls, recordings and messages as the REST API shows them, and pages of them."""

from collections.abc import Iterable
from email.utils import formatdate
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from switchboard_simulator.callbacks import API_VERSION, DIRECTION
from switchboard_simulator.calls import Call, CallStatus, Recording
from switchboard_simulator.messages import Message

Json = dict[str, Any]


def account_path(account_sid: str) -> str:
    """Return the path of an account, without extension."""
    return f"/{API_VERSION}/Accounts/{account_sid}"


def call_json(call: Call) -> Json:
    """Return a call as the REST API shows it."""
    path = f"{account_path(call.account_sid)}/Calls/{call.sid}"
    return {
        "sid": call.sid,
        "account_sid": call.account_sid,
        "api_version": API_VERSION,
        "answered_by": call.answered_by,
        "caller_name": None,
        "date_created": _date(call.created_at),
        "date_updated": _date(call.updated_at),
        "direction": DIRECTION,
        "duration": str(call.seconds) if call.status is CallStatus.COMPLETED else None,
        "end_time": _date(call.ended_at),
        "forwarded_from": None,
        "from": call.request.from_,
        "from_formatted": call.request.from_,
        "group_sid": None,
        "parent_call_sid": None,
        "phone_number_sid": None,
        "price": None,
        "price_unit": "USD",
        "queue_time": str(round(((call.started_at or call.created_at) - call.created_at) * 1000)),
        "start_time": _date(call.started_at),
        "status": call.rest_status.value,
        "subresource_uris": {"recordings": f"{path}/Recordings.json"},
        "to": call.request.to,
        "to_formatted": call.request.to,
        "trunk_sid": None,
        "uri": f"{path}.json",
    }


def recording_json(recording: Recording) -> Json:
    """Return a recording as the REST API shows it."""
    path = f"{account_path(recording.account_sid)}/Recordings/{recording.sid}"
    return {
        "sid": recording.sid,
        "account_sid": recording.account_sid,
        "api_version": API_VERSION,
        "call_sid": recording.call_sid,
        "channels": 1,
        "conference_sid": None,
        "date_created": _date(recording.started_at),
        "date_updated": _date(recording.updated_at),
        "duration": None if recording.seconds is None else str(recording.seconds),
        "encryption_details": None,
        "error_code": recording.error_code,
        "media_url": recording.url,
        "price": None,
        "price_unit": "USD",
        "source": "OutboundAPI",
        "start_time": _date(recording.started_at),
        "status": recording.status.value,
        "subresource_uris": {},
        "track": recording.track,
        "uri": f"{path}.json",
    }


def message_json(message: Message) -> Json:
    """Return a message as the REST API shows it."""
    path = f"{account_path(message.account_sid)}/Messages/{message.sid}"
    return {
        "sid": message.sid,
        "account_sid": message.account_sid,
        "api_version": API_VERSION,
        "body": message.request.body,
        "date_created": _date(message.created_at),
        "date_sent": _date(message.sent_at),
        "date_updated": _date(message.updated_at),
        "direction": DIRECTION,
        "error_code": message.error_code,
        "error_message": None,
        "from": message.request.from_,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": str(message.request.segments),
        "price": None,
        "price_unit": "USD",
        "status": message.status.value,
        "subresource_uris": {"media": f"{path}/Media.json"},
        "to": message.request.to,
        "uri": f"{path}.json",
    }


def page_json(
    *, key: str, path: str, query: list[tuple[str, str]], page: int, size: int, rows: Iterable[tuple[str, Json]]
) -> Json:
    """Return one page of a list, with the address of the next one.

    Args:
        key: name of the list in the answer.
        path: address of the list.
        query: filters, repeated in the next page's address.
        page: number of this page, from 0.
        size: rows a page.
        rows: the rows from this page on, each with the token that continues after it.
    """
    taken = list(islice(rows, size + 1))
    shown = taken[:size]

    def address(number: int, token: str | None = None) -> str:
        extra = [("PageSize", str(size)), ("Page", str(number))] + ([("PageToken", token)] if token else [])
        return f"{path}?{urlencode(query + extra)}"

    return {
        key: [row for _, row in shown],
        "end": page * size + max(len(shown) - 1, 0),
        "first_page_uri": address(0),
        "next_page_uri": address(page + 1, shown[-1][0]) if len(taken) > size else None,
        "page": page,
        "page_size": size,
        "previous_page_uri": None,
        "start": page * size,
        "uri": address(page),
    }


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else formatdate(seconds, localtime=False)
