"""``background_sort_task``: sorts a mailbox by its rules, a page of messages at a time.

Moving a message is an effect outside the database, so it is claimed first. The claim, a row in state ``moving`` under
the message's identity, is committed before the message is touched; counters, cursor and the claims' new state are
committed together, by the kernel, after it. Whatever is killed in between leaves claims behind, and the next slice
looks where their messages are before it does anything else. So every message is moved once, is counted once and is
never lost, and while the mail server is being talked to no transaction is open.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from switchboard_core.jobs.slices import Cursor, ItemError, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.logs import get_logger
from switchboard_core.mailbox import service
from switchboard_core.mailbox.bounces import Bounce, bounce_of, report_parts
from switchboard_core.mailbox.errors import MailboxError, MailboxRefusedError
from switchboard_core.mailbox.imap import ImapSession, MessageHeader
from switchboard_core.mailbox.mime import decode_content
from switchboard_core.mailbox.models import Mailbox, SortedMessage
from switchboard_core.mailbox.progress import Patience, Progress
from switchboard_core.mailbox.rules import first_match
from switchboard_core.mailbox.schemas import Rule
from switchboard_core.mailbox.states import SortState
from switchboard_core.outbox.service import record_bounce
from switchboard_core.runtime import Runtime
from switchboard_core.vault.sealing import KeysMissingError, UnreadableSecretError
from switchboard_core.vault.service import CredentialNotFoundError

log = get_logger(__name__)

PAGE = 50
_REPORT_BYTES = 64 * 1024
_UNUSABLE = (
    service.MailboxNotFoundError,
    service.NotAReferenceError,
    CredentialNotFoundError,
    KeysMissingError,
    UnreadableSecretError,
)


@dataclass(frozen=True)
class Plan:
    """What is to be done with one message.

    Attributes:
        header: of the message.
        rule: that takes it.
        claim_id: the row that says so; None where it is only marked, which does no harm twice.
    """

    header: MessageHeader
    rule: Rule
    claim_id: int | None = None

    @property
    def folder(self) -> str | None:
        """Where it goes."""
        return self.rule.action.move_to


def sort_slice(
    runtime: Runtime,
    ctx: SliceContext,
    payload: dict[str, Any],
    cursor: Cursor | None,
    *,
    patience: Patience | None = None,
) -> Slice:
    """Sort the next messages of a mailbox.

    Args:
        runtime: of the worker.
        ctx: of the slice.
        payload: ``credentials_json``, the reference to the mailbox.
        cursor: a ``Progress``.
        patience: with a mail server that is away.
    """
    if ctx.condemned is not None:
        return Slice(ends_as=JobStatus.FAILED, reason=ctx.condemned)
    try:
        sorting = Sorting(runtime, ctx, service.mailbox_id_of(payload["credentials_json"]), cursor)
        try:
            sorting.work()
        except MailboxError as error:
            return sorting.interrupted(error, patience or Patience())
    except _UNUSABLE as error:
        return Slice(ends_as=JobStatus.FAILED, reason=str(error))
    return sorting.outcome()


class Sorting:
    """One slice of the sorting of one mailbox."""

    def __init__(self, runtime: Runtime, ctx: SliceContext, mailbox_id: int, cursor: Cursor | None) -> None:
        self._runtime = runtime
        self._ctx = ctx
        self._mailbox_id = mailbox_id
        self._progress = Progress(**cursor) if cursor else Progress()
        self._total: int | None = None
        self._finished = False
        self._settled: list[int] = []
        self._gone: list[int] = []
        self._marked: list[Plan] = []
        self._bounces: list[Bounce] = []
        self._made: set[str] = set()
        with runtime.database.tenant(ctx.business_id) as session:
            self._mailbox: Mailbox = service.row_of(session, mailbox_id)
            self._left_behind = session.scalars(
                select(SortedMessage)
                .where(SortedMessage.mailbox_id == mailbox_id, SortedMessage.state == SortState.MOVING)
                .order_by(SortedMessage.id)
            ).all()
        self._rules = service.rules_of(self._mailbox)

    def work(self) -> None:
        """Talk to the mail server; writes nothing in the slice's own transaction.

        Raises:
            MailboxError: what was done up to then counts.
        """
        with service.imap_session(self._runtime, self._ctx.business_id, self._mailbox_id) as imap:
            waiting = self._begin(imap)
            touched = 0
            while waiting:
                page = waiting[: min(PAGE, self._ctx.limit - touched)]
                self._sort_page(imap, page)
                waiting, touched = waiting[len(page) :], touched + len(page)
                if waiting and (self._ctx.out_of_time or touched >= self._ctx.limit):
                    return
            self._finished = True

    def outcome(self) -> Slice:
        """Write down what was done."""
        self._settle()
        if not self._finished:
            return Slice(next_cursor=asdict(self._progress), total=self._total)
        result = self._progress.result()
        log.info("mailbox sorted", mailbox_id=self._mailbox_id, moved=sum(self._progress.moved.values()))
        return Slice(total=self._total, result=result)

    def interrupted(self, error: MailboxError, patience: Patience) -> Slice:
        """Write down what was done before the error, and try again later where that makes sense."""
        self._settle()
        self._progress.failures += 1
        failures = self._progress.failures
        log.warning("mailbox not sorted further", mailbox_id=self._mailbox_id, error=type(error).__name__)
        if error.retryable and failures < patience.tries:
            return Slice(next_cursor=asdict(self._progress), total=self._total, sleep_s=patience.pause_s(failures))
        reason = str(error)
        if error.retryable:
            reason = f"{error} It was tried {failures} times: sort again once the mail server answers."
        return Slice(total=self._total, result=self._progress.result(), ends_as=JobStatus.FAILED, reason=reason)

    # What is there

    def _begin(self, imap: ImapSession) -> list[int]:
        """Look after what an earlier slice left behind; the uids that wait, ascending."""
        progress = self._progress
        folder = imap.select(self._mailbox.folder)
        if progress.uidvalidity != folder.uidvalidity:
            # The uids up to now mean nothing any more. Who was moved is known by Message-ID, so nothing happens twice.
            progress.uidvalidity, progress.after_uid, progress.up_to_uid = folder.uidvalidity, 0, folder.uidnext - 1
        for claim in self._left_behind:
            self._look_after(imap, claim)
        # All of them once, to be counted; then no more than it takes to see that this slice leaves some.
        first_look = progress.after_uid == 0
        limit = None if first_look else self._ctx.limit + 1
        waiting = imap.uids_after(progress.after_uid, up_to=progress.up_to_uid, limit=limit)
        if first_look:
            self._total = progress.seen + len(waiting)
        return waiting

    def _look_after(self, imap: ImapSession, claim: SortedMessage) -> None:
        """Find out what became of a message whose move was interrupted."""
        folder = claim.folder or self._mailbox.folder
        same_uids = claim.uidvalidity == self._progress.uidvalidity
        here = same_uids and any(header.identity == claim.identity for header in imap.headers([claim.uid]))
        if here and imap.moves_at_once:
            self._release([claim.id])
        elif imap.has_identity(bytes(claim.identity), claim.size, folder):
            if here:
                # The server has no MOVE: the copy was made, and what was to be removed is still here.
                imap.remove([claim.uid])
            self._settled.append(claim.id)
            if claim.job_id == self._ctx.job_id:
                self._count_moved(folder)
        elif here or not same_uids:
            self._release([claim.id])
        else:
            self._gone.append(claim.id)
            if claim.job_id == self._ctx.job_id:
                self._progress.gone += 1
                self._done()

    # One page

    def _sort_page(self, imap: ImapSession, uids: Sequence[int]) -> None:
        headers = imap.headers(uids)
        # Whatever raises in here leaves the page to the next slice as a whole, so nothing is counted before its end.
        bounces = [bounce for header in headers if (bounce := _bounce(imap, header))]
        plans, known = self._claim(self._plans(headers))
        refused: dict[int, str] = {}
        for folder in dict.fromkeys(plan.folder for plan in plans):
            refused |= self._carry_out(imap, folder, [plan for plan in plans if plan.folder == folder])
        self._count_page(uids, headers, plans, known, refused)
        self._bounces += bounces
        self._progress.after_uid = uids[-1]
        # Not before: getting in is no progress where the connection always breaks at the same page.
        self._progress.failures = 0

    def _plans(self, headers: Iterable[MessageHeader]) -> list[Plan]:
        now = self._runtime.clock.now()
        return [
            Plan(header, rule)
            for header in headers
            if header.problem is None and (rule := first_match(self._rules, header, now))
        ]

    def _claim(self, plans: Sequence[Plan]) -> tuple[list[Plan], int]:
        """Commit that these messages are about to be moved; without those that were sorted before, and their number."""
        if not plans:
            return [], 0
        with self._runtime.database.tenant(self._ctx.business_id) as session:
            before = set(
                session.scalars(
                    select(SortedMessage.identity).where(
                        SortedMessage.mailbox_id == self._mailbox_id,
                        SortedMessage.identity.in_([plan.header.identity for plan in plans]),
                    )
                )
            )
            new: dict[bytes, Plan] = {}
            for plan in plans:
                if plan.header.identity not in before:
                    # Two messages in one page may have the same Message-ID: the first one is it.
                    new.setdefault(plan.header.identity, plan)
            ids: dict[bytes, int] = {}
            if moving := [self._row(plan, SortState.MOVING) for plan in new.values() if plan.folder is not None]:
                rows = session.execute(
                    insert(SortedMessage)
                    .values(moving)
                    .on_conflict_do_nothing()
                    .returning(SortedMessage.identity, SortedMessage.id)
                )
                ids = {bytes(row.identity): row.id for row in rows}
        claimed = [Plan(plan.header, plan.rule, ids.get(identity)) for identity, plan in new.items()]
        ours = [plan for plan in claimed if plan.folder is None or plan.claim_id is not None]
        return ours, len(plans) - len(ours)

    def _carry_out(self, imap: ImapSession, folder: str | None, plans: Sequence[Plan]) -> dict[int, str]:
        """Move and mark; what the server refuses, by uid, with what it says."""
        uids = [plan.header.uid for plan in plans]
        try:
            if seen := [plan.header.uid for plan in plans if plan.rule.action.mark_seen]:
                imap.add_flags(seen, ["\\Seen"])
            if folder is None:
                return {}
            if folder not in self._made:
                imap.create_folder(folder)
                self._made.add(folder)
            imap.move(uids, folder)
        except MailboxRefusedError as error:
            # It may have moved some of them before it said no.
            here = {header.uid: header.identity for header in imap.headers(uids)}
            left = [plan for plan in plans if here.get(plan.header.uid) == plan.header.identity]
            self._release([plan.claim_id for plan in left if plan.claim_id is not None])
            return {plan.header.uid: str(error) for plan in left}
        return {}

    def _count_page(
        self,
        uids: Sequence[int],
        headers: Sequence[MessageHeader],
        plans: Sequence[Plan],
        known: int,
        refused: dict[int, str],
    ) -> None:
        progress = self._progress
        unreadable = {header.uid: header.problem for header in headers if header.problem is not None}
        for uid, sentence in (unreadable | refused).items():
            self._ctx.errors.append(ItemError(f"message {uid} in {self._mailbox.folder}", sentence))
            progress.seen += 1
        for plan in plans:
            if plan.header.uid in refused:
                continue
            if plan.claim_id is not None and plan.folder is not None:
                self._settled.append(plan.claim_id)
                self._count_moved(plan.folder)
            else:
                self._marked.append(plan)
                progress.marked += 1
                self._done()
        unmatched = len(headers) - len(unreadable) - len(plans) - known
        progress.unmatched += unmatched
        progress.known += known
        progress.gone += len(uids) - len(headers)
        self._done(unmatched + known + len(uids) - len(headers))

    def _count_moved(self, folder: str) -> None:
        self._progress.moved[folder] = self._progress.moved.get(folder, 0) + 1
        self._done()

    def _done(self, messages: int = 1) -> None:
        self._ctx.done += messages
        self._progress.seen += messages

    # Rows

    def _row(self, plan: Plan, state: SortState) -> dict[str, Any]:
        return {
            "business_id": self._ctx.business_id,
            "mailbox_id": self._mailbox_id,
            "identity": plan.header.identity,
            "job_id": self._ctx.job_id,
            "uidvalidity": self._progress.uidvalidity,
            "uid": plan.header.uid,
            "size": plan.header.size,
            "rule": plan.rule.name,
            "folder": plan.folder,
            "mark_seen": plan.rule.action.mark_seen,
            "state": state,
            "settled_at": None if state is SortState.MOVING else func.clock_timestamp(),
        }

    def _release(self, claim_ids: Sequence[int]) -> None:
        """Give claims back: their messages are where they were, or nowhere."""
        with self._runtime.database.tenant(self._ctx.business_id) as session:
            session.execute(
                delete(SortedMessage).where(SortedMessage.id.in_(claim_ids), SortedMessage.state == SortState.MOVING)
            )

    def _settle(self) -> None:
        """Write down in the slice's own transaction what became of the messages."""
        session = self._ctx.session
        if self._settled:
            session.execute(
                update(SortedMessage)
                .where(SortedMessage.id.in_(self._settled))
                .values(state=SortState.MOVED, settled_at=func.clock_timestamp())
                .execution_options(synchronize_session=False)
            )
        if self._gone:
            session.execute(delete(SortedMessage).where(SortedMessage.id.in_(self._gone)))
        if self._marked:
            rows = [self._row(plan, SortState.MOVED) for plan in self._marked]
            session.execute(insert(SortedMessage).values(rows).on_conflict_do_nothing())
        self._progress.bounces += sum(
            record_bounce(session, bounce.message_id, bounce.reason) for bounce in self._bounces
        )


def _bounce(imap: ImapSession, header: MessageHeader) -> Bounce | None:
    """The mail of ours that a delivery-status report says has come back."""
    found = report_parts(header.parts) if header.content_type == "multipart/report" else None
    if found is None:
        return None
    status, original = found
    section = f"{original.section}.HEADER" if original.content_type.startswith("message/") else original.section
    try:
        said = decode_content(imap.section(header.uid, status.section, max_bytes=_REPORT_BYTES), status.encoding)
        about = imap.section(header.uid, section, max_bytes=_REPORT_BYTES)
    except MailboxRefusedError:
        # A report that cannot be read is a message like any other.
        return None
    return bounce_of(said, decode_content(about, original.encoding))
