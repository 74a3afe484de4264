"""Connected mailboxes: sort, receipts, search."""

import time
from functools import partial

from switchboard_core import crossing
from switchboard_core.jobs.context import active_context
from switchboard_core.jobs.kernel import Kernel, Outcome
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.jobs.slices import SliceFunction
from switchboard_core.mailbox import service
from switchboard_core.mailbox.receipts_sync import receipts_sync_slice
from switchboard_core.mailbox.search import start as start_search
from switchboard_core.mailbox.search import voice_search_slice
from switchboard_core.mailbox.sort import sort_slice
from switchboard_core.runtime import Runtime, process_runtime

_LOOK_AGAIN_S = 0.2


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """Every kind of job of this domain."""
    return {
        "background_sort_task": partial(sort_slice, runtime),
        "receipts_sync": partial(receipts_sync_slice, runtime),
        "voice_search_task": partial(voice_search_slice, runtime),
    }


def background_sort_task(credentials_json: str) -> TaskSnapshot:
    """Sort a connected mailbox now, in this process, to the end.

    In a queue the same work is done in slices, by the job of this name. While the mailbox is being sorted already, this
    waits for the task that does it.

    Args:
        credentials_json: JSON text of the reference to the mailbox, ``{"mailbox_id": 1}``: never credentials
            themselves, which lie encrypted in the vault.

    Returns:
        The task as it ended.

    Raises:
        NotAReferenceError: ``credentials_json`` is something else.
        MailboxNotFoundError: there is no such mailbox.
        NoRulesError: it has no rules to sort by.
    """
    runtime = process_runtime()
    mailbox = _referred_to(runtime, credentials_json)
    with runtime.database.tenant(mailbox.business_id) as session:
        task = service.sort(session, runtime, mailbox.id)
    return run_to_its_end(runtime, mailbox.business_id, task.id)


def voice_search_task(credentials_json: str | None, search_text: str) -> TaskSnapshot:
    """Search now, in this process: a mailbox and the calls of its business.

    In a queue the same work is done in slices, by the job of this name; there ``search_text`` is None where the words
    were spoken, and a row has them.

    Args:
        credentials_json: as for ``background_sort_task``; None searches the calls of the running job's business alone.
        search_text: what to look for.

    Returns:
        The task as it ended; its ``result`` has what was found, best first.

    Raises:
        NotAReferenceError: ``credentials_json`` is something else.
        MailboxNotFoundError: there is no such mailbox.
        NothingToSearchError: ``search_text`` has no word in it.
        LookupError: there is neither a mailbox nor a running job whose business could be meant.
    """
    runtime = process_runtime()
    if credentials_json is not None:
        business_id = _referred_to(runtime, credentials_json).business_id
    elif (active := active_context()) is not None:
        business_id = active.business_id
    else:
        msg = "voice_search_task needs a mailbox or a running job: whose calls are meant?"
        raise LookupError(msg)
    with runtime.database.tenant(business_id) as session:
        task = start_search(session, runtime, credentials_json, text=search_text)
    return run_to_its_end(runtime, business_id, task.id)


def _referred_to(runtime: Runtime, credentials_json: str) -> crossing.Ref:
    mailbox_id = service.mailbox_id_of(credentials_json)
    with runtime.database.crossing() as session:
        found = crossing.mailbox(session, mailbox_id)
    if found is None:
        msg = f"There is no mailbox {mailbox_id}."
        raise service.MailboxNotFoundError(msg)
    return found


def run_to_its_end(runtime: Runtime, business_id: int, task_id: int) -> TaskSnapshot:
    """Run the slices of a job of this domain here until it has ended, whoever else takes some of them.

    Args:
        runtime: of this process.
        business_id: its tenant.
        task_id: the background job.
    """
    kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks(runtime))
    try:
        while True:
            outcome = kernel.run_slice(task_id)
            with runtime.database.tenant(business_id) as session:
                task = runtime.tasks.get(session, task_id)
            if task.status.terminal:
                return task
            if outcome is Outcome.FINISHED:
                # It sleeps, or another worker has it.
                time.sleep(_LOOK_AGAIN_S)
    finally:
        kernel.close()
