"""How far a collection was read, as it is kept with its connection. Pure: nothing here fetches or writes.

A listing is read page by page; each page names the next one. Its first page may say ``as_of``, what to ask for next
time, and an ``ETag``. Both become the collection's own only when the last page was written: a listing that was broken
off is taken up again where it stopped, and one that is over is never half-remembered.

A transaction whose counterparty is not here yet is a stranger: it was booked while the listings were read, or its
counterparty is wrong and will be corrected. It would be lost if the next listing began behind it, so for a while the
next ones begin before it.
"""

import hashlib
from collections.abc import Sequence
from typing import Self
from urllib.parse import urlencode, urljoin, urlsplit

from pydantic import BaseModel, ConfigDict

from switchboard_core.ledger.documents import Read, WrongDocument
from switchboard_core.ledger.states import Collection

PAGE_LIMIT = 500
"""Documents on a page that we ask for."""

MAX_URL_CHARS = 2000
MAX_PAGES = 100_000
"""Pages of one listing; a longer one has no end."""

PATIENCE = 7
"""Further listings that a stranger is in. One that never comes must not have everything read anew for ever."""


class NextPageError(ValueError):
    """The ``next`` of a page is refused; the message says why and what to do."""


class Mark(BaseModel):
    """Where a finished listing has led.

    Attributes:
        since: what to ask for as ``updated_since``; None: for everything.
        etag: of the first page of that listing.
        etag_url: the address that ``etag`` belongs to; to another one it says nothing.
    """

    model_config = ConfigDict(frozen=True)

    since: str | None = None
    etag: str | None = None
    etag_url: str | None = None


class CollectionCursor(Mark):
    """How far a collection was read, and the mark that the next listing begins at.

    Attributes:
        later: marks of newer listings than the one to begin at, oldest first; there are some only while there are
            strangers.
        strangers: the listing has brought some.
        next: the page that has to be written next; None: no listing was begun.
        offset: documents of that page that are written.
        written: digest of those documents; where they have changed meanwhile, the page is written from its start.
        pages: of the listing that are written.
        landmark: digest of the address of an earlier page, to notice a listing that goes in circles.
        as_of: of the listing's first page.
        first_etag: of the listing's first page.
        first_url: the address of the listing's first page.
    """

    later: tuple[Mark, ...] = ()
    strangers: bool = False
    next: str | None = None
    offset: int = 0
    written: str | None = None
    pages: int = 0
    landmark: str | None = None
    as_of: str | None = None
    first_etag: str | None = None
    first_url: str | None = None

    def address(self, base_url: str, collection: Collection) -> str:
        """The page to fetch."""
        if self.next is not None:
            return self.next
        query = {"limit": str(PAGE_LIMIT)} | ({"updated_since": self.since} if self.since else {})
        return f"{base_url}/{collection}?{urlencode(query)}"

    def etag_for(self, address: str) -> str | None:
        """What to send as ``If-None-Match``."""
        return self.etag if self.next is None and address == self.etag_url else None

    def within(self, address: str, offset: int, written: str) -> Self:
        """The cursor in the middle of a page."""
        return self.model_copy(update={"next": address, "offset": offset, "written": written})

    def begun(self, address: str, as_of: str | None, etag: str | None) -> Self:
        """The cursor once the first page of a listing is there."""
        return self.model_copy(update={"next": address, "first_url": address, "as_of": as_of, "first_etag": etag})

    def beyond(self, address: str, following: str) -> Self:
        """The cursor behind a page that is written.

        Args:
            address: of that page.
            following: address of the one after it.

        Raises:
            NextPageError: the listing goes in circles, or on and on.
        """
        pages = self.pages + 1
        if pages >= MAX_PAGES:
            msg = f"The listing has more than {MAX_PAGES:,} pages: its `next` never ends. Have its maker look at that."
            raise NextPageError(msg)
        # Brent's way to find a cycle with one landmark, which moves to the current page at each power of two.
        landmark = _digest(address) if pages & (pages - 1) == 0 else self.landmark
        if _digest(following) in (landmark, _digest(address)):
            msg = "The `next` of a page leads back to an earlier page, without end. Have its maker look at that."
            raise NextPageError(msg)
        update = {"next": following, "offset": 0, "written": None, "pages": pages, "landmark": landmark}
        return self.model_copy(update=update)

    def meeting(self, strangers: int) -> Self:
        """The cursor of a listing that has brought so many more strangers."""
        return self.model_copy(update={"strangers": True}) if strangers else self

    def finished(self) -> Self:
        """The cursor behind the last page of a listing.

        With strangers in it the next one begins at an older mark, up to ``PATIENCE`` listings back: so each stranger is
        listed that many times more, and however many come, no more than that is read again.
        """
        reached = Mark(since=self.as_of or self.since, etag=self.first_etag, etag_url=self.first_url)
        if not self.strangers:
            return type(self)(**reached.model_dump())
        marks = (*self.later, reached)
        if len(marks) <= PATIENCE:
            # Without the etag: the strangers are not in what it stands for, or nothing would be listed any more.
            return type(self)(since=self.since, later=marks)
        return type(self)(**marks[0].model_dump(), later=marks[1:])

    def anew(self) -> Self:
        """The cursor before a listing that has to be read from its start."""
        return type(self)(since=self.since, later=self.later)


def following_page(address: str, following: str) -> str:
    """The address of the page after one.

    Args:
        address: of a page.
        following: its ``next``, absolute or relative.

    Raises:
        NextPageError: it is no address on the same server.
    """
    if len(following) > MAX_URL_CHARS:
        msg = f"The `next` of a page is longer than {MAX_URL_CHARS} characters. Have its maker look at that."
        raise NextPageError(msg)
    try:
        target = urljoin(address, following)
        here, there = urlsplit(address), urlsplit(target)
        same = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
    except ValueError:
        same = False
    if not same or there.username is not None:
        # The token would go there.
        msg = "The `next` of a page leads to another server, which is refused. Have its maker look at that."
        raise NextPageError(msg)
    return target


def digest_of(documents: Sequence[Read]) -> str:
    """Tells whether the documents at the start of a page are still the same."""
    seen = (f"{d.name} {d.message}" if isinstance(d, WrongDocument) else f"{d.id} {d.version}" for d in documents)
    return _digest("\n".join(seen))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
