"""One page from an accounting system: bounded in time and size, and every way to fail in one sentence.

The system is somebody else's, at an address that a tenant chose. So nothing of what it sends is trusted: connections go
through the checked egress, redirects are not followed, a body is counted while it is unpacked, and its shape is checked
before anything is made of it.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from switchboard_core.egress import Egress, EgressRefusedError
from switchboard_core.ledger.cursors import NextPageError, following_page
from switchboard_core.ledger.documents import STORABLE, Read, understand_all
from switchboard_core.ledger.states import Collection

MAX_PAGE_BYTES = 10 * 1024 * 1024
MAX_PAGE_ITEMS = 1000
MAX_ETAG_CHARS = 500
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
_AGENT = "switchboard-ledger/1"


class AccountingError(Exception):
    """A page could not be had, and asking again would not help; the message says what to do."""


class ListingGoneError(AccountingError):
    """The system has forgotten the listing that a page belongs to: it has to be read from its start."""


class BusyError(AccountingError):
    """A page could not be had now; asking again later may help.

    Attributes:
        retry_after_s: how long the system wants to be left alone, in seconds; None: it does not say.
    """

    def __init__(self, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Page:
    """A page of a collection.

    Attributes:
        address: where it came from.
        documents: in its order, wrong ones included.
        following: address of the next page; None on the last one.
        as_of: what to ask for next time as ``updated_since``.
        etag: of this page.
        unchanged: the page is as it was when the etag was given; it has no documents then.
    """

    address: str
    documents: tuple[Read, ...] = ()
    following: str | None = None
    as_of: str | None = None
    etag: str | None = None
    unchanged: bool = False


class _Body(BaseModel):
    items: list[Any] = Field(max_length=MAX_PAGE_ITEMS)
    # Both are kept in the cursor.
    next: str | None = Field(None, pattern=STORABLE)
    as_of: str | None = Field(None, max_length=200, pattern=STORABLE)


class AccountingApi:
    """Reads pages of one accounting system with one token.

    Args:
        token: sent as a bearer token, to the host of each address that is asked for.
        egress: what tenants may connect to.
        page_timeout_s: for a whole page, in seconds, however lively it trickles in.
    """

    def __init__(self, token: str, egress: Egress, *, page_timeout_s: float = 20.0) -> None:
        self._page_timeout_s = page_timeout_s
        self._client = httpx.AsyncClient(
            transport=egress.async_transport(),
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": _AGENT,
            },
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def page(self, collection: Collection, address: str, etag: str | None = None) -> Page:
        """Fetch and understand a page.

        Args:
            collection: what its items are.
            address: of the page.
            etag: what is known of it.

        Raises:
            BusyError: asking again later may help.
            ListingGoneError: the listing has to be read from its start.
            AccountingError: anything else.
        """
        try:
            async with asyncio.timeout(self._page_timeout_s):
                return await self._page(collection, address, etag)
        except TimeoutError:
            msg = f"The accounting system did not send a page within {self._page_timeout_s:g} s."
            raise BusyError(msg) from None
        except EgressRefusedError as error:
            raise AccountingError(str(error)) from None
        except httpx.TransportError as error:
            raise BusyError(_lost(error)) from None
        except NextPageError as error:
            raise AccountingError(str(error)) from None
        except (httpx.InvalidURL, UnicodeError):
            msg = "The address of a page is none: check the connection's base_url, or have the maker look at `next`."
            raise AccountingError(msg) from None

    async def _page(self, collection: Collection, address: str, etag: str | None) -> Page:
        headers = {"If-None-Match": etag} if etag else {}
        async with self._client.stream("GET", address, headers=headers) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED and etag:
                return Page(address, etag=etag, unchanged=True)
            _require_success(response)
            content = await _content_of(response)
        body = _read_body(collection, content)
        named = response.headers.get("ETag")
        return Page(
            address,
            tuple(understand_all(collection, body.items)),
            None if body.next is None else following_page(address, body.next),
            body.as_of,
            named if named and len(named) <= MAX_ETAG_CHARS else None,
        )


def _read_body(collection: Collection, content: bytes) -> _Body:
    """What a page says, its documents not yet understood."""
    try:
        # Amounts stay exactly what was sent.
        decoded = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        msg = (
            f"What the accounting system sent for {collection} is not JSON: check the connection's base_url, "
            "or have its maker look at that."
        )
        raise AccountingError(msg) from None
    try:
        return _Body.model_validate(decoded)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in found["loc"]) or "the body"
        msg = (
            f"What the accounting system sent for {collection} is not a page of documents ({where}: {found['msg']}): "
            "check the connection's base_url; docs/ledger.md says what a page is."
        )
        raise AccountingError(msg) from None


def _require_success(response: httpx.Response) -> None:
    """Raise what an answer other than a page means."""
    status = response.status_code
    if status == httpx.codes.OK:
        return
    said = f"The accounting system answered {status}"
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        msg = f"{said}: it does not accept the token. Make a new one there and set it on the connection."
        raise AccountingError(msg)
    if status == httpx.codes.GONE:
        msg = f"{said}: it has forgotten the listing."
        raise ListingGoneError(msg)
    if status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT) or status >= 500:
        raise BusyError(f"{said}.", _retry_after_s(response.headers.get("Retry-After")))
    if response.is_redirect:
        msg = f"{said}, a redirect, which is not followed: set the connection's base_url to the final address."
        raise AccountingError(msg)
    msg = f"{said} instead of a page: check the connection's base_url."
    raise AccountingError(msg)


def _retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After, which may be a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


async def _content_of(response: httpx.Response) -> bytes:
    """The body, unpacked: never more than the limit is in memory, whatever a few bytes claim to become."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        msg = f"The accounting system packs its pages as {encoding[:20]!r}, which was not asked for: gzip or nothing."
        raise AccountingError(msg)
    content = bytearray()
    async for piece in _unpacked(response, packed=encoding == "gzip"):
        content += piece
        if len(content) > MAX_PAGE_BYTES:
            msg = (
                f"A page of the accounting system is larger than {MAX_PAGE_BYTES // 1024 // 1024} MB: "
                "it has to honour `limit`. Have its maker look at that."
            )
            raise AccountingError(msg)
    return bytes(content)


async def _unpacked(response: httpx.Response, *, packed: bool) -> AsyncIterator[bytes]:
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    async for piece in response.aiter_raw():
        if not packed:
            yield piece
            continue
        try:
            yield inflate.decompress(piece, MAX_PAGE_BYTES + 1)
        except zlib.error:
            msg = "A page of the accounting system is not the gzip that it claims to be. Have its maker look at that."
            raise AccountingError(msg) from None
        if inflate.unconsumed_tail:
            # There is more in this piece than the limit allows: whoever counts sees that now.
            yield b"\0"


def _lost(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"The accounting system did not take a connection within {CONNECT_TIMEOUT_S:g} s."
    if isinstance(error, httpx.TimeoutException):
        return f"The accounting system fell silent for {READ_TIMEOUT_S:g} s."
    if isinstance(error, httpx.ConnectError):
        return f"The accounting system cannot be reached ({str(error)[:200] or 'no connection'})."
    return f"The connection to the accounting system broke off ({type(error).__name__})."
