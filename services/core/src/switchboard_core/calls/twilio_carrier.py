"""The carrier by the official ``twilio`` package, at a configurable base URL.

The package gets an HTTP client of ours (its own extension point) for one reason: it must be certain whether a create
call was sent. httpx tells when the connection stands and when the first byte leaves; between the two the caller checks
once more that the call is still wanted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client
from twilio.rest.api.v2010.account.call import CallInstance
from twilio.rest.api.v2010.account.message import MessageInstance

from switchboard_core.calls.carrier import (
    AnswerLostError,
    CallOrder,
    CarrierCall,
    CarrierMessage,
    CarrierRecording,
    CarrierUnavailableError,
    MessageOrder,
    NotSentError,
    RejectedError,
)
from switchboard_core.failpoints import reach
from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings

log = get_logger(__name__)

STATUS_EVENTS = ["initiated", "ringing", "answered", "completed"]
_NOT_IN_PROGRESS = 21220
_RATE_LIMITED = 429
_NOT_FOUND = 404
_LARGEST_PAGE = 1000
_QUEUE_FULL = 21611
"""Too many messages wait at the number that sends: nothing was taken."""
_ACCOUNT_CODES = frozenset({20003, 20005, 20008, 20403, 21212, 21603, 21606, 21659, 21660})
"""Refusals of the account or of the number that a call or message comes from."""


class _Refused(Exception):  # noqa: N818 - carries the caller's own exception out through two libraries
    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Send:
    """Watches one request: whether its first byte has left."""

    def __init__(self, before_send: Callable[[], None]) -> None:
        self._before_send = before_send
        self.sent = False

    def trace(self, event: str, _info: dict[str, Any]) -> None:
        if event == "http11.send_request_headers.started" and not self.sent:
            try:
                self._before_send()
            except Exception as error:
                raise _Refused(error) from error
            self.sent = True
        elif event == "http11.receive_response_headers.started" and self.sent:
            reach("before_answer")


_watched: ContextVar[_Send | None] = ContextVar("switchboard_watched_send", default=None)


class _HttpxClient(HttpClient):  # type: ignore[misc]  # the package is untyped
    """HTTP for the ``twilio`` package. One connection a request: a kept one that turns out dead would leave it open
    whether a create call was sent."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(logger=_logger(), is_async=False)
        base = urlsplit(settings.twilio_base_url)
        self._scheme, self._netloc, self._path = base.scheme, base.netloc, base.path
        self._http = httpx.Client(
            timeout=httpx.Timeout(
                settings.carrier_read_timeout_seconds, connect=settings.carrier_connect_timeout_seconds
            ),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def request(  # the twilio package's signature
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - ours are set on the client
        allow_redirects: bool = False,  # noqa: ARG002, FBT001, FBT002 - a carrier's API does not redirect
    ) -> Response:
        parts = urlsplit(uri)
        url = urlunsplit((self._scheme, self._netloc, self._path + parts.path, parts.query, ""))
        send = _watched.get()
        answer = self._http.request(
            method,
            url,
            params={key: str(value) for key, value in (params or {}).items()} or None,
            data=data,
            headers=headers,
            auth=auth,
            extensions={"trace": send.trace} if send else None,
        )
        return Response(answer.status_code, answer.text, dict(answer.headers))


class TwilioCarrier:
    """``Carrier`` by Twilio's REST API 2010-04-01."""

    def __init__(self, settings: Settings) -> None:
        self._account_sid = settings.twilio_account_sid
        self._client = Client(
            settings.twilio_account_sid,
            settings.twilio_auth_token.get_secret_value() or "unset",
            http_client=_HttpxClient(settings),
        )
        self._media_base = settings.twilio_base_url

    @property
    def account_sid(self) -> str:
        """The account that calls are placed with."""
        return self._account_sid

    def create(self, order: CallOrder, before_send: Callable[[], None]) -> CarrierCall:
        """Place a call, once; see ``Carrier.create``."""
        with _sent_once(before_send, "create call"):
            return _call(self._client.calls.create(**_create_arguments(order)))

    def fetch(self, call_sid: str) -> CarrierCall | None:
        """What the carrier says of a call; see ``Carrier.fetch``."""
        try:
            return _call(self._client.calls(call_sid).fetch())
        except TwilioRestException as error:
            if error.status == _NOT_FOUND:
                return None
            raise CarrierUnavailableError(str(error.msg)) from error
        except (httpx.HTTPError, TwilioException) as error:
            raise CarrierUnavailableError(type(error).__name__) from error

    def find(self, to_number: str, since: datetime) -> list[CarrierCall]:
        """Calls to a number since a moment; see ``Carrier.find``."""
        try:
            # Not filtered by StartTime: a call that is still queued has none, and would not be found.
            calls = self._client.calls.list(to=to_number, limit=100)
        except (httpx.HTTPError, TwilioException) as error:
            raise CarrierUnavailableError(type(error).__name__) from error
        found = [_call(call) for call in calls]
        recent = [call for call in found if call.created_at is None or call.created_at >= since]
        return sorted(recent, key=lambda call: call.created_at or since)

    def calls(self, *, status: str | None = None, started_after: datetime | None = None) -> Iterator[CarrierCall]:
        """Every call of the account; see ``Carrier.calls``."""
        wanted: dict[str, Any] = {"status": status, "start_time_after": started_after}
        try:
            for call in self._client.calls.stream(
                page_size=_LARGEST_PAGE, **{name: value for name, value in wanted.items() if value is not None}
            ):
                yield _call(call)
        except (httpx.HTTPError, TwilioException) as error:
            raise CarrierUnavailableError(type(error).__name__) from error

    def hang_up(self, call_sid: str) -> None:
        """End a call; see ``Carrier.hang_up``."""
        try:
            self._client.calls(call_sid).update(status="completed")
        except TwilioRestException as error:
            if error.code == _NOT_IN_PROGRESS or error.status == _NOT_FOUND:
                return
            raise CarrierUnavailableError(str(error.msg)) from error
        except (httpx.HTTPError, TwilioException) as error:
            raise CarrierUnavailableError(type(error).__name__) from error

    def send_message(self, order: MessageOrder, before_send: Callable[[], None]) -> CarrierMessage:
        """Send a text message, once; see ``Carrier.send_message``."""
        with _sent_once(before_send, "message"):
            return _message(
                self._client.messages.create(
                    to=order.to_number, from_=order.from_number, body=order.body, status_callback=order.status_url
                )
            )

    def fetch_message(self, message_sid: str) -> CarrierMessage | None:
        """What the carrier says of a message; see ``Carrier.fetch_message``."""
        try:
            return _message(self._client.messages(message_sid).fetch())
        except TwilioRestException as error:
            if error.status == _NOT_FOUND:
                return None
            raise CarrierUnavailableError(str(error.msg)) from error
        except (httpx.HTTPError, TwilioException) as error:
            raise CarrierUnavailableError(type(error).__name__) from error

    def find_messages(self, to_number: str, from_number: str, since: datetime) -> list[CarrierMessage]:
        """Messages between two numbers since a moment; see ``Carrier.find_messages``."""
        try:
            # Not filtered by DateSent: a message that is still queued has none, and would not be found.
            messages = self._client.messages.list(to=to_number, from_=from_number, limit=100)
        except (httpx.HTTPError, TwilioException) as error:
            raise CarrierUnavailableError(type(error).__name__) from error
        found = [_message(message) for message in messages]
        recent = [message for message in found if message.created_at is None or message.created_at >= since]
        return sorted(recent, key=lambda message: message.created_at or since)

    def recordings_of(self, call_sid: str) -> list[CarrierRecording]:
        """The recordings of a call; see ``Carrier.recordings_of``."""
        try:
            found = self._client.recordings.list(call_sid=call_sid, limit=20)
        except (httpx.HTTPError, TwilioException) as error:
            raise CarrierUnavailableError(type(error).__name__) from error
        base = f"{self._media_base}/2010-04-01/Accounts/{self._account_sid}/Recordings"
        return [
            CarrierRecording(
                sid=str(item.sid),
                call_sid=call_sid,
                status=str(item.status),
                media_url=f"{base}/{item.sid}",
                duration_s=int(item.duration) if item.duration not in {None, ""} else None,
            )
            for item in found
        ]


@contextmanager
def _sent_once(before_send: Callable[[], None], what: str) -> Iterator[None]:
    """Say of a request that creates something whether it was certainly not sent, refused, or nobody knows."""
    send = _Send(before_send)
    token = _watched.set(send)
    try:
        yield
    except _Refused as refused:
        raise refused.cause from None
    except TwilioRestException as error:
        raise _refusal(error) from error
    except httpx.HTTPError as error:
        if send.sent:
            msg = f"no answer to the {what} ({type(error).__name__})"
            raise AnswerLostError(msg) from error
        msg = f"the carrier cannot be reached ({type(error).__name__})"
        raise NotSentError(msg, carrier_fault=True) from error
    except (TwilioException, ValueError, KeyError) as error:
        msg = f"the answer to the {what} cannot be read ({type(error).__name__})"
        raise AnswerLostError(msg) from error
    finally:
        _watched.reset(token)


def _create_arguments(order: CallOrder) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "to": order.to_number,
        "from_": order.from_number,
        "url": order.voice_url,
        "method": "POST",
        "status_callback": order.status_url,
        "status_callback_event": STATUS_EVENTS,
        "status_callback_method": "POST",
        "timeout": order.ring_timeout_s,
    }
    if order.recording_url:
        arguments |= {
            "record": True,
            "recording_status_callback": order.recording_url,
            "recording_status_callback_method": "POST",
            "recording_status_callback_event": ["completed", "absent"],
        }
    if order.amd_url:
        arguments |= {
            "machine_detection": "Enable",
            "async_amd": "true",
            "async_amd_status_callback": order.amd_url,
            "async_amd_status_callback_method": "POST",
        }
    return arguments


def _refusal(error: TwilioRestException) -> Exception:
    """What an error answer to a create request means: 429 sent nothing, 5xx may have, any other 4xx is final."""
    status, code = int(error.status), int(error.code or 0)
    sentence = f"carrier error {code or status}: {str(error.msg)[:200]}"
    if status == _RATE_LIMITED or code == _QUEUE_FULL:
        return NotSentError(sentence, carrier_fault=False, retry_after_s=1.0)
    if status >= 500:
        return AnswerLostError(sentence)
    return RejectedError(code or status, sentence, account_fault=status in {401, 403} or code in _ACCOUNT_CODES)


def _call(call: CallInstance) -> CarrierCall:
    return CarrierCall(
        sid=str(call.sid),
        status=str(getattr(call.status, "value", call.status)),
        to_number=str(call.to),
        from_number=str(call._from),  # noqa: SLF001 - `from` is a keyword; the package names the field so
        created_at=_moment(call.date_created) or _moment(call.start_time),
        answered_by=call.answered_by or None,
        duration_s=int(call.duration) if call.duration not in {None, ""} else None,
    )


def _message(message: MessageInstance) -> CarrierMessage:
    return CarrierMessage(
        sid=str(message.sid),
        status=str(getattr(message.status, "value", message.status)),
        to_number=str(message.to),
        from_number=str(message.from_),
        body=str(message.body or ""),
        created_at=_moment(message.date_created),
        error_code=int(message.error_code) if message.error_code not in {None, ""} else None,
    )


def _moment(value: object) -> datetime | None:
    if isinstance(value, str):
        value = parsedate_to_datetime(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _logger() -> Any:  # noqa: ANN401 - the package wants a standard-library logger
    import logging

    return logging.getLogger("twilio.http_client")
