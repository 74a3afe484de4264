"""``AsyncSyncService``: brings the documents of an accounting system into the ledger, slice by slice.

A slice first waits for a page, while no transaction is open, and then writes it, and the pages after it that have
arrived meanwhile, in the kernel's one transaction: the documents, the connection's cursor and the job's counters are
committed together or not at all. So a sync that was killed goes on exactly where its last commit was, and a later sync
goes on where one that failed has stopped.
"""

import random
import uuid
from collections import OrderedDict
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from switchboard_core.db import Database, tenant_of
from switchboard_core.egress import Egress
from switchboard_core.jobs.slices import BATCH, Cursor, OwningTask, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.ledger.accounting_api import AccountingApi, AccountingError, BusyError, ListingGoneError, Page
from switchboard_core.ledger.cursors import PATIENCE, CollectionCursor, NextPageError, digest_of
from switchboard_core.ledger.models import LedgerConnection
from switchboard_core.ledger.pages_ahead import EventLoopThread, PagesAhead
from switchboard_core.ledger.states import Collection, ConnectionState
from switchboard_core.ledger.writing import Writer, take_turn
from switchboard_core.logs import get_logger
from switchboard_core.vault import service as vault
from switchboard_core.vault.sealing import KeysMissingError, UnreadableSecretError

log = get_logger(__name__)

MAX_TRIES = 8
"""Times in a row that a page may fail to come before the sync fails."""

BACKOFF_S = 2.0
BACKOFF_MAX_S = 300.0
RETRY_AFTER_MAX_S = 3600.0
LOCK_PAUSE_S = 1.0
SHORT_BUDGET_S = 1.0
"""A slice with less time than that has others waiting behind it."""

ASKED_AGAIN = f"; the next {PATIENCE} syncs ask for the transaction again"

SYNCS_KEPT = 4
"""Syncs whose connections and pages a worker keeps between slices."""


class SyncProgress(BaseModel):
    """The cursor of the background job; where in a collection it is stands with the connection.

    Attributes:
        collection: that is being read.
        seen: documents so far.
        created, updated, deleted: what became of them; the rest was known already, or wrong.
        tries: times in a row that a page did not come.
        restarted: the accounting system forgot a listing once.
        home: the process that ran the last slice.
    """

    collection: Collection = Collection.COUNTERPARTIES
    seen: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0
    tries: int = 0
    restarted: bool = False
    home: str | None = None

    def again(self, **changes: Any) -> Cursor:  # noqa: ANN401 - fields of several types
        """The cursor of the next slice."""
        return self.model_copy(update=changes).model_dump(mode="json")


@dataclass(frozen=True)
class _Source:
    """A connection as a slice found it."""

    id: int
    base_url: str
    credential_id: int | None
    cursors: dict[str, Any]

    def cursor(self, collection: Collection) -> CollectionCursor:
        return CollectionCursor.model_validate(self.cursors.get(collection, {}))


@dataclass(frozen=True)
class _Sync:
    """What a worker keeps of a sync between slices."""

    pages: PagesAhead
    known: set[str] = field(default_factory=set)


@dataclass
class _Work:
    """The writing of a slice.

    Attributes:
        ctx: of the slice.
        writer: of the collection.
        pages: of the sync.
        cursor: how far the collection is written.
        ahead: whether pages may be fetched ahead.
        touched: documents of this slice.
        finished: the listing is written to its end.
    """

    ctx: SliceContext
    writer: Writer
    pages: PagesAhead
    cursor: CollectionCursor
    _: KW_ONLY
    ahead: bool
    touched: int = 0
    finished: bool = False

    def write(self, page: Page) -> str | None:
        """Write a page, and those after it that are there already; returns why the listing cannot be read on."""
        if page.unchanged:
            self.finished = True
            return None
        if self.cursor.next is None:
            self.cursor = self.cursor.begun(page.address, page.as_of, page.etag)
        following: Page | None = page
        try:
            while following is not None:
                following = self._write_and_go_on(following)
        except NextPageError as error:
            return str(error)
        return None

    def _write_and_go_on(self, page: Page) -> Page | None:
        """Write a page; returns the next one if this slice may go on with it."""
        behind = self.cursor
        if page.following is not None:
            behind = self.cursor.beyond(page.address, page.following)
            if self.ahead:
                self.pages.fetch_ahead(self.writer.collection, page.following)
        offset = self._write_page(page)
        if offset < len(page.documents):
            within = self.cursor.within(page.address, offset, digest_of(page.documents[:offset]))
            self.cursor = within.meeting(self.writer.strangers)
            return None
        self.cursor = behind.meeting(self.writer.strangers)
        if page.following is None:
            self.cursor, self.finished = self.cursor.finished(), True
            return None
        # Never wait for a page here: the transaction is open.
        if self.touched >= self.ctx.limit or self.ctx.out_of_time or not self.pages.arrived(page.following):
            return None
        return self.pages.take(self.writer.collection, page.following)

    def _write_page(self, page: Page) -> int:
        """Write what the slice has room and time for; returns how many documents of the page are written."""
        documents, offset = page.documents, self.cursor.offset
        if offset and self.cursor.written != digest_of(documents[:offset]):
            offset = 0
        self.writer.learn(documents[offset : offset + self.ctx.limit - self.touched])
        while offset < len(documents) and self.touched < self.ctx.limit:
            if self.touched and self.ctx.out_of_time:
                break
            part = documents[offset : offset + min(self._at_once(), self.ctx.limit - self.touched)]
            self.writer.write(part)
            offset += len(part)
            self.touched += len(part)
        return offset

    def _at_once(self) -> int:
        """Documents between two looks at the clock: all there is room for, or a hundred while other jobs wait."""
        return BATCH if self.ctx.budget_s < SHORT_BUDGET_S else self.ctx.limit


class AsyncSyncService:
    """Runs the slices of ``sync_ledger`` in one worker process, and fetches pages ahead meanwhile.

    Args:
        database: of the process.
        egress: what tenants may connect to.
        chance: decides how much of a pause is left out, so that syncs do not come back all at once.
        page_timeout_s: for a whole page, in seconds.
    """

    def __init__(
        self,
        database: Database,
        egress: Egress,
        *,
        chance: random.Random | None = None,
        page_timeout_s: float = 20.0,
    ) -> None:
        self._database = database
        self._egress = egress
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._page_timeout_s = page_timeout_s
        self._home = uuid.uuid4().hex[:12]
        self._loop = EventLoopThread()
        self._syncs: OrderedDict[int, _Sync] = OrderedDict()

    @property
    def task(self) -> OwningTask:
        """``sync_ledger``, with what becomes of its connection when it fails."""
        return OwningTask(self.sync, self.failed)

    def close(self) -> None:
        """Close all connections and end the event loop."""
        for job_id in list(self._syncs):
            self._forget(job_id)
        self._loop.close()

    def sync(self, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
        """One slice: documents of one collection, 1,000 at most.

        Args:
            ctx: of the slice.
            payload: ``connection_id``.
            cursor: ``SyncProgress``; None at the start.
        """
        progress = SyncProgress.model_validate(cursor or {})
        outcome = self._slice(ctx, int(payload["connection_id"]), progress, first=cursor is None)
        if outcome.next_cursor is None:
            self._forget(ctx.job_id)
        return outcome

    def failed(self, ctx: SliceContext, payload: dict[str, Any], _cursor: Cursor | None, reason: str) -> Slice:
        """Note on the connection that the kernel fails its sync; a later one goes on where this one has stopped.

        Args:
            ctx: of the slice.
            payload: of the task.
            reason: shown with the connection.
        """
        self._forget(ctx.job_id)
        source = _find(ctx.session, int(payload["connection_id"]))
        return _failed(reason) if source is None else _fail(ctx, source, reason)

    def _slice(self, ctx: SliceContext, connection_id: int, progress: SyncProgress, *, first: bool) -> Slice:
        # In a transaction of its own: the slice's begins with its first statement, which has to wait for the page.
        # PostgreSQL ends a transaction that stands idle for as long as a slow page may take.
        with self._database.tenant(ctx.business_id) as session:
            source = _find(session, connection_id)
        if source is None:
            return _failed("The connection was deleted.")
        reading = source.cursor(progress.collection)
        address = reading.address(source.base_url, progress.collection)
        try:
            sync = self._sync_of(ctx, source)
            page = sync.pages.take(progress.collection, address, reading.etag_for(address))
        except BusyError as error:
            return self._try_later(ctx, source, progress, error)
        except ListingGoneError as error:
            if progress.restarted or reading.next is None:
                return _fail(ctx, source, f"{error} Have its maker look at that.")
            _save(ctx.session, source, progress.collection, reading.anew())
            return Slice(next_cursor=progress.again(restarted=True, tries=0))
        except (AccountingError, vault.CredentialNotFoundError, KeysMissingError, UnreadableSecretError) as error:
            return _fail(ctx, source, str(error))
        if not _take_turn(ctx.session, source):
            return Slice(next_cursor=progress.again(), sleep_s=LOCK_PAUSE_S)
        # A page that is fetched ahead is lost where the next slice runs in another process, so only a sync that stays
        # here gets any: the accounting system is asked for no page twice because of us.
        stays = first or progress.home == self._home
        writer = Writer(ctx, source.id, progress.collection, sync.known, advice=ASKED_AGAIN)
        work = _Work(ctx, writer, sync.pages, reading, ahead=stays)
        problem = work.write(page)
        _save(ctx.session, source, progress.collection, work.cursor)
        progress = _moved(progress, work, self._home)
        if problem is not None:
            return _fail(ctx, source, problem)
        if not work.finished:
            return Slice(next_cursor=progress.again())
        if progress.collection is not Collection.TRANSACTIONS:
            return Slice(next_cursor=progress.again(collection=Collection.TRANSACTIONS))
        return _complete(ctx, source, progress)

    def _sync_of(self, ctx: SliceContext, source: _Source) -> _Sync:
        """What is kept of this sync, or a new beginning."""
        sync = self._syncs.get(ctx.job_id)
        if sync is None:
            if source.credential_id is None:
                msg = "The connection has no token any more: set one on it."
                raise AccountingError(msg)
            with self._database.tenant(ctx.business_id) as session:
                secret = vault.read(session, ctx.settings, source.credential_id)
            api = AccountingApi(secret["token"], self._egress, page_timeout_s=self._page_timeout_s)
            sync = self._syncs[ctx.job_id] = _Sync(PagesAhead(self._loop, api))
            while len(self._syncs) > SYNCS_KEPT:
                self._forget(next(iter(self._syncs)))
        self._syncs.move_to_end(ctx.job_id)
        return sync

    def _forget(self, job_id: int) -> None:
        sync = self._syncs.pop(job_id, None)
        if sync is not None:
            sync.pages.close()

    def _try_later(self, ctx: SliceContext, source: _Source, progress: SyncProgress, error: BusyError) -> Slice:
        tries = progress.tries + 1
        if tries >= MAX_TRIES:
            advice = f"It was tried {MAX_TRIES} times: start the sync again later, it goes on where it stopped."
            return _fail(ctx, source, f"{error} {advice}")
        backoff = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (tries - 1))
        pause = max(backoff * self._chance.uniform(0.5, 1.0), min(error.retry_after_s or 0.0, RETRY_AFTER_MAX_S))
        log.warning("accounting system busy", task_id=ctx.job_id, tries=tries, pause_s=round(pause, 1))
        reason = f"{error} Trying again, {tries} of {MAX_TRIES} tries so far."
        return Slice(next_cursor=progress.again(tries=tries), sleep_s=pause, reason=reason)


def _find(session: Session, connection_id: int) -> _Source | None:
    row = session.execute(
        select(
            LedgerConnection.id, LedgerConnection.base_url, LedgerConnection.credential_id, LedgerConnection.cursors
        ).where(LedgerConnection.id == connection_id, LedgerConnection.business_id == tenant_of(session))
    ).first()
    if row is None or row.base_url is None:
        return None
    return _Source(row.id, row.base_url, row.credential_id, row.cursors)


def _take_turn(session: Session, source: _Source) -> bool:
    """Hold the ledger, if nobody has moved the connection's cursors since they were read."""
    if not take_turn(session):
        return False
    now = session.scalar(
        select(LedgerConnection.cursors)
        .where(LedgerConnection.id == source.id, LedgerConnection.business_id == tenant_of(session))
        .with_for_update()
    )
    return bool(now == source.cursors)


def _moved(progress: SyncProgress, work: _Work, home: str) -> SyncProgress:
    """The progress behind a slice."""
    made = work.writer.written
    return progress.model_copy(
        update={
            "seen": progress.seen + work.touched,
            "created": progress.created + made.created,
            "updated": progress.updated + made.updated,
            "deleted": progress.deleted + made.deleted,
            "tries": 0,
            "home": home,
        }
    )


def _save(session: Session, source: _Source, collection: Collection, cursor: CollectionCursor) -> None:
    kept = {**source.cursors, collection.value: cursor.model_dump(mode="json", exclude_defaults=True)}
    _change(session, source, cursors=kept)


def _change(session: Session, source: _Source, **values: Any) -> None:  # noqa: ANN401 - columns of several types
    session.execute(
        update(LedgerConnection)
        .where(LedgerConnection.id == source.id, LedgerConnection.business_id == tenant_of(session))
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _complete(ctx: SliceContext, source: _Source, progress: SyncProgress) -> Slice:
    _change(ctx.session, source, state=ConnectionState.READY, reason=None, last_synced_at=func.clock_timestamp())
    made = {"created": progress.created, "updated": progress.updated, "deleted": progress.deleted}
    return Slice(total=progress.seen, result={"seen": progress.seen, **made})


def _fail(ctx: SliceContext, source: _Source, reason: str) -> Slice:
    _change(ctx.session, source, state=ConnectionState.FAILED, reason=reason)
    return _failed(reason)


def _failed(reason: str) -> Slice:
    return Slice(ends_as=JobStatus.FAILED, reason=reason)
