"""``voice_search_task``: finds, by typed or spoken words, mails and calls, and ranks them as one list.

A spoken query is a row: its sound, and once it was understood its words, so that neither stands in a queue, a cursor or
a log. The first slice understands it, the second one searches; both only read, and what they find is committed with
the task's end.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.db import tenant_of
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.jobs.slices import Cursor, ItemError, Slice, SliceContext
from switchboard_core.jobs.states import JobStatus
from switchboard_core.logs import get_logger
from switchboard_core.mailbox import service
from switchboard_core.mailbox.errors import MailboxError
from switchboard_core.mailbox.mail_search import MailFinds, find_mails
from switchboard_core.mailbox.models import VoiceQuery
from switchboard_core.mailbox.ranking import Find, Kind, Ranked, rank, terms_of
from switchboard_core.recordings import service as recordings
from switchboard_core.recordings.models import Recording
from switchboard_core.runtime import Runtime
from switchboard_core.settings import Settings
from switchboard_core.speech.audio import AudioError
from switchboard_core.speech.engines import TranscriptionError
from switchboard_core.speech.transcribe import TranscriptionProcess, TranscriptionTimeoutError
from switchboard_core.vault.sealing import KeysMissingError, UnreadableSecretError
from switchboard_core.vault.service import CredentialNotFoundError

log = get_logger(__name__)

JOB = "voice_search_task"
MAX_RESULTS = 50
MAX_CALLS = 100
MAILBOX_S = 15.0
"""How long a mailbox is searched; whoever asked is waiting."""

ENGINE_START_S = 20.0
HEARING_S = 25.0
MAX_TRIES = 2
VOICE_QUERY_S = 3600.0
"""How long a spoken query is kept at most."""

NO_MAILBOX = "No mailbox is connected, so only calls were searched."
NOTHING_HEARD = "Nothing was understood in the recording: speak closer to the microphone, or type the words."

_UNUSABLE = (
    service.MailboxNotFoundError,
    service.NotAReferenceError,
    CredentialNotFoundError,
    KeysMissingError,
    UnreadableSecretError,
)


class NothingToSearchError(ValueError):
    """A query without a word."""


class _NotUnderstoodError(Exception):
    """A spoken query that leads nowhere; the message is for people."""


def reference_to(session: Session, mailbox_id: int | None) -> str | None:
    """What stands for the mailbox that is meant: the one with this id, or else the only one; None without any.

    Raises:
        SeveralMailboxesError: the business has several and ``mailbox_id`` is None.
        MailboxNotFoundError: it has no such mailbox.
    """
    try:
        return service.credentials_reference(service.choose(session, mailbox_id).id)
    except service.NoMailboxError:
        return None


def start(
    session: Session,
    runtime: Runtime,
    credentials_json: str | None,
    *,
    text: str | None = None,
    audio: bytes | None = None,
) -> TaskSnapshot:
    """Search in the background, by words or by a recording of them.

    Args:
        session: bound to the business.
        runtime: of the process.
        credentials_json: from ``reference_to``; None searches the calls alone.
        text: typed words.
        audio: spoken words: a WAV that ``speech.audio`` can read.

    Raises:
        NothingToSearchError: the text has no word in it.
    """
    if audio is None and not terms_of(text or ""):
        msg = "There is no word to search for in it."
        raise NothingToSearchError(msg)
    payload: dict[str, object] = {"credentials_json": credentials_json, "search_text": text}
    if audio is not None:
        query = VoiceQuery(business_id=tenant_of(session), audio=audio)
        session.add(query)
        session.flush()
        payload |= {"search_text": None, "voice_query_id": query.id}
    return runtime.tasks.create(session, JOB, payload)


def voice_search_slice(runtime: Runtime, ctx: SliceContext, payload: dict[str, Any], cursor: Cursor | None) -> Slice:
    """Understand a spoken query, or search.

    Args:
        runtime: of the worker.
        ctx: of the slice.
        payload: ``credentials_json``, the reference to the mailbox or None; ``search_text``, or else
            ``voice_query_id``.
        cursor: ``heard`` once a spoken query was understood; ``tries`` that failed.
    """
    query_id = payload.get("voice_query_id")
    progress = cursor or {}
    try:
        if query_id is not None and not progress.get("heard"):
            return _hear(runtime, ctx, query_id, int(progress.get("tries", 0)))
        text = payload.get("search_text") if query_id is None else _query(runtime, ctx, query_id).heard
        return _search(runtime, ctx, payload.get("credentials_json"), text or "", query_id)
    except _NotUnderstoodError as error:
        _forget(ctx.session, query_id)
        return Slice(ends_as=JobStatus.FAILED, reason=str(error))


# Hearing


def _query(runtime: Runtime, ctx: SliceContext, query_id: int) -> VoiceQuery:
    with runtime.database.tenant(ctx.business_id) as session:
        query = session.scalars(select(VoiceQuery).where(VoiceQuery.id == query_id)).first()
    if query is None:
        msg = "The recording was deleted before it could be searched for: ask again."
        raise _NotUnderstoodError(msg)
    return query


def _hear(runtime: Runtime, ctx: SliceContext, query_id: int, tries: int) -> Slice:
    audio = _query(runtime, ctx, query_id).audio
    try:
        heard = hear(audio, runtime.settings)
    except TranscriptionError as error:
        if not error.retryable or tries + 1 >= MAX_TRIES:
            raise _NotUnderstoodError(str(error)) from error
        log.warning("spoken query is listened to again", query_id=query_id, error=type(error).__name__)
        return Slice(next_cursor={"tries": tries + 1}, sleep_s=1.0)
    except AudioError as error:
        raise _NotUnderstoodError(str(error)) from error
    if not terms_of(heard):
        raise _NotUnderstoodError(NOTHING_HEARD)
    # What was said is known now: who said it, and how, is nobody's business any more.
    ctx.session.execute(update(VoiceQuery).where(VoiceQuery.id == query_id).values(heard=heard, audio=b""))
    return Slice(next_cursor={"heard": True})


def hear(audio: bytes, settings: Settings) -> str:
    """The words in a recording, in a process of its own that is killed when it takes too long.

    The process is not kept: few queries are spoken, and a loaded model is a hundred megabytes.

    Raises:
        AudioError: it is not audio that the engine reads.
        TranscriptionError: the engine cannot be loaded, took too long or failed.
    """
    engine = settings.transcription_engine
    if engine == "none":
        msg = "Spoken queries are not understood here, because TRANSCRIPTION_ENGINE is none: type the words."
        raise TranscriptionError(msg)
    with tempfile.NamedTemporaryFile(prefix="query-", suffix=".wav") as file:
        file.write(audio)
        file.flush()
        with TranscriptionProcess(engine, start_timeout_s=ENGINE_START_S) as process:
            process.start()
            try:
                return process.transcribe(Path(file.name), HEARING_S).text
            except TranscriptionTimeoutError:
                msg = f"Understanding the recording took longer than {HEARING_S:g} s: say less, or type the words."
                raise TranscriptionError(msg) from None


def _forget(session: Session, query_id: int | None) -> None:
    if query_id is not None:
        session.execute(delete(VoiceQuery).where(VoiceQuery.id == query_id))


def forget_old_queries(runtime: Runtime, limit: int) -> int:
    """Delete spoken queries whose task was cancelled or never came to its turn; returns how many."""
    with runtime.database.crossing() as session:
        refs = crossing.expired_voice_queries(session, VOICE_QUERY_S, limit)
    for ref in refs:
        with runtime.database.tenant(ref.business_id) as session:
            _forget(session, ref.id)
    return len(refs)


# Searching


def _search(runtime: Runtime, ctx: SliceContext, reference: str | None, text: str, query_id: int | None) -> Slice:
    terms = terms_of(text)
    found = _mails(runtime, ctx, reference, terms)
    found.finds += find_calls(ctx.session, terms)
    ranked = rank(found.finds, terms, runtime.clock.now(), limit=MAX_RESULTS)
    _forget(ctx.session, query_id)
    ctx.done += len(ranked)
    log.info("search finished", task_id=ctx.job_id, spoken=query_id is not None, found=len(ranked))
    result = {
        "query": text,
        "terms": list(terms),
        "notes": found.notes,
        "results": [_shown(one) for one in ranked],
    }
    return Slice(total=len(ranked), result=result)


def _mails(runtime: Runtime, ctx: SliceContext, reference: str | None, terms: Sequence[str]) -> MailFinds:
    """What the mailbox has; where it cannot be searched, the calls are still worth an answer."""
    if reference is None:
        return MailFinds(notes=[NO_MAILBOX])
    try:
        mailbox_id = service.mailbox_id_of(reference)
        with runtime.database.tenant(ctx.business_id) as session:
            mailbox = service.row_of(session, mailbox_id)
        rules = service.rules_of(mailbox)
        folders = [mailbox.folder, *(rule.action.move_to for rule in rules if rule.action.move_to is not None)]
        late = _after(MAILBOX_S)
        with service.imap_session(runtime, ctx.business_id, mailbox_id) as imap:
            return find_mails(imap, folders, terms, late)
    except (MailboxError, *_UNUSABLE) as error:
        log.warning("mailbox not searched", task_id=ctx.job_id, error=type(error).__name__)
        ctx.errors.append(ItemError("mailbox", str(error)))
        return MailFinds(notes=[f"The mailbox was not searched, only calls were: {error}"])


def _after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def find_calls(session: Session, terms: Sequence[str]) -> list[Find]:
    """Calls of the session's business in which the terms were said: those with all of them, then those with some.

    Args:
        session: bound to the business.
        terms: from ``ranking.terms_of``.
    """
    quoted = [f'"{term}"' for term in terms]
    with_all = recordings.search(session, " ".join(quoted), limit=MAX_CALLS)
    finds = {recording.id: _call(recording, frozenset(terms)) for recording in with_all}
    if len(terms) > 1 and len(with_all) < MAX_RESULTS:
        for recording in recordings.search(session, " or ".join(quoted), limit=MAX_CALLS):
            finds.setdefault(recording.id, _call(recording, frozenset()))
    return list(finds.values())


def _call(recording: Recording, said: frozenset[str]) -> Find:
    return Find(
        kind=Kind.CALL,
        id=str(recording.id),
        title=f"Recording {recording.id}",
        fields={"transcript": recording.transcript or ""},
        when=recording.created_at,
        place=recording.call_sid,
        elsewhere=said,
    )


def _shown(ranked: Ranked) -> dict[str, Any]:
    find = ranked.find
    return {
        "kind": find.kind.value,
        "id": find.id,
        "title": find.title,
        "sender": find.fields.get("sender"),
        "place": find.place,
        "snippet": ranked.snippet,
        "score": ranked.score,
        "when": find.when.isoformat() if find.when else None,
    }
