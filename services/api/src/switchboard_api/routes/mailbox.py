"""Connected mailboxes: connect, look, rules, remove; and ``/sort``, whose address people know from before."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from switchboard_api import logins
from switchboard_api.auth import Agent, Caller, Owner, RuntimeDep, Viewer
from switchboard_api.idempotency import Idempotency, IdempotencyDep
from switchboard_api.pagination import MAX_ID, Page, Paging, RowId
from switchboard_api.problems import Problem, not_found
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.mailbox import service
from switchboard_core.mailbox.errors import MailboxError, WrongCredentialsError
from switchboard_core.mailbox.oauth import Grant
from switchboard_core.mailbox.schemas import MailboxOrder, MailboxOut, Rules
from switchboard_core.runtime import Runtime
from switchboard_core.tenancy.service import record_audit
from switchboard_core.vault.sealing import KeysMissingError

router = APIRouter(tags=["mailbox"])

WhichMailbox = Annotated[
    int | None, Query(ge=1, le=MAX_ID, description="Needed where several mailboxes are connected.", examples=[4])
]

_NOTHING_TO_SORT: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such mailbox."},
    409: {"description": "No mailbox is connected, or it has no rules."},
}


@router.post("/api/mailboxes", summary="Connect a mailbox", status_code=201, response_model=MailboxOut)
async def connect_mailbox(order: MailboxOrder, caller: Owner, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """Logs in first: what does not work is not kept. What opens the mailbox is encrypted and never shown again.

    Connecting the same user on the same host again replaces what opens it and keeps its rules.
    """
    with _explained():
        # Before the transaction: a mail server may take its time.
        grant = await logins.tried(lambda: service.check_login(runtime.settings, order))
        return await run_in_threadpool(_keep, order, grant, caller, runtime, once)


def _keep(order: MailboxOrder, grant: Grant | None, caller: Caller, runtime: Runtime, once: Idempotency) -> Response:
    def effect(session: Session) -> MailboxOut:
        made = service.connect(session, runtime.settings, order, grant)
        _audit(session, caller, "mailbox.connected", made.id)
        return made

    with runtime.database.tenant(caller.business_id) as session:
        return once.run(
            session,
            lambda: effect(session),
            status=201,
            headers=lambda made: {"Location": f"/api/mailboxes/{made.id}"},
        )


@router.get("/api/mailboxes", summary="List mailboxes")
def list_mailboxes(caller: Viewer, runtime: RuntimeDep, paging: Paging) -> Page[MailboxOut]:
    """Oldest first."""
    with runtime.database.tenant(caller.business_id) as session:
        return paging.page(service.list_mailboxes(session, after_id=paging.after_id, limit=paging.fetch))


@router.get("/api/mailboxes/{mailbox_id}", summary="Show a mailbox")
def show_mailbox(mailbox_id: RowId, caller: Viewer, runtime: RuntimeDep) -> MailboxOut:
    """With its rules, without what opens it."""
    with _explained(), runtime.database.tenant(caller.business_id) as session:
        return service.get_mailbox(session, mailbox_id)


@router.put("/api/mailboxes/{mailbox_id}/rules", summary="Set the rules of a mailbox")
def set_rules(mailbox_id: RowId, rules: Rules, caller: Agent, runtime: RuntimeDep) -> MailboxOut:
    """Replaces all rules. The first rule that matches a message decides; a message that none matches stays."""
    with _explained(), runtime.database.tenant(caller.business_id) as session:
        changed = service.set_rules(session, mailbox_id, rules)
        _audit(session, caller, "mailbox.rules_set", mailbox_id)
        return changed


@router.delete("/api/mailboxes/{mailbox_id}", summary="Remove a mailbox", status_code=204)
def remove_mailbox(mailbox_id: RowId, caller: Owner, runtime: RuntimeDep) -> None:
    """Forgets the mailbox and what opens it. The messages in it stay as they are."""
    with _explained(), runtime.database.tenant(caller.business_id) as session:
        service.remove(session, mailbox_id)
        _audit(session, caller, "mailbox.removed", mailbox_id)


@router.post(
    "/sort", summary="Sort a mailbox", status_code=202, response_model=TaskSnapshot, responses=_NOTHING_TO_SORT
)
def sort(caller: Agent, runtime: RuntimeDep, once: IdempotencyDep, mailbox_id: WhichMailbox = None) -> Response:
    """In the background. While the mailbox is being sorted the answer is the task that does it."""
    with _explained(), runtime.database.tenant(caller.business_id) as session:
        return once.run(session, _sort(session, caller, runtime, mailbox_id), status=202, headers=_task_location)


@router.get("/sort", summary="Sort a mailbox, by link", status_code=202, responses=_NOTHING_TO_SORT)
def sort_by_link(
    caller: Agent, runtime: RuntimeDep, response: Response, mailbox_id: WhichMailbox = None
) -> TaskSnapshot:
    """The same as POST, for those who know it from before: asking twice starts one task."""
    with _explained(), runtime.database.tenant(caller.business_id) as session:
        task = _sort(session, caller, runtime, mailbox_id)()
    response.headers.update(_task_location(task))
    return task


def _sort(session: Session, caller: Caller, runtime: Runtime, mailbox_id: int | None) -> Callable[[], TaskSnapshot]:
    def effect() -> TaskSnapshot:
        task = service.sort(session, runtime, mailbox_id)
        record_audit(session, actor=caller.actor, action="mailbox.sorted", subject=f"task {task.id}")
        return task

    return effect


def _task_location(task: TaskSnapshot) -> dict[str, str]:
    return {"Location": f"/api/tasks/{task.id}"}


def _audit(session: Session, caller: Caller, action: str, mailbox_id: int) -> None:
    record_audit(session, actor=caller.actor, action=action, subject=f"mailbox {mailbox_id}")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the domain raises into problems."""
    try:
        yield
    except service.MailboxNotFoundError as error:
        raise not_found(str(error).removeprefix("There is no ").rstrip(".")) from None
    except service.NoMailboxError as error:
        raise Problem(409, "No mailbox connected", str(error)) from None
    except service.NoRulesError as error:
        raise Problem(409, "No rules", str(error)) from None
    except service.MailboxExistsError as error:
        raise Problem(409, "Mailbox being connected", str(error)) from None
    except service.SeveralMailboxesError as error:
        raise Problem(422, "Which mailbox", str(error)) from None
    except service.RuleFolderError as error:
        raise Problem(422, "Invalid request", str(error)) from None
    except WrongCredentialsError as error:
        raise Problem(422, "Wrong credentials", str(error)) from None
    except MailboxError as error:
        title = "Mailbox unreachable" if error.retryable else "Mailbox refused"
        raise Problem(422, title, str(error)) from None
    except KeysMissingError as error:
        raise Problem(503, "Secrets cannot be kept", str(error)) from None
