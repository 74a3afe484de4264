"""Broadcasts: preview, start, look; and who wants none. The task of a broadcast is cancelled like any other."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.orm import Session

from switchboard_api.auth import Agent, Owner, RuntimeDep, Viewer
from switchboard_api.idempotency import IdempotencyDep
from switchboard_api.pagination import Page, Paging, RowId
from switchboard_api.problems import Problem, not_found
from switchboard_core.broadcasts import opt_outs, service
from switchboard_core.broadcasts.models import Broadcast
from switchboard_core.broadcasts.schemas import (
    BroadcastContent,
    BroadcastCreate,
    BroadcastPreview,
    BroadcastView,
    OptOutEntries,
    OptOutPage,
    OptOutRequest,
    OptOutView,
    RecipientView,
)
from switchboard_core.leads.phones import parse_phone
from switchboard_core.outbox.schemas import require_address
from switchboard_core.outbox.states import Channel, MessageState
from switchboard_core.tenancy.service import record_audit

router = APIRouter(prefix="/api", tags=["broadcasts"])

EntryId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.post("/broadcasts/preview", summary="Preview a broadcast")
def preview(content: BroadcastContent, caller: Viewer, runtime: RuntimeDep) -> BroadcastPreview:
    """How many messages it would be, who would get none and why, and the text for the first lead. Changes nothing."""
    with runtime.database.tenant(caller.business_id) as session:
        return service.preview(session, content)


@router.post("/broadcasts", summary="Start a broadcast", status_code=202, response_model=BroadcastView)
def start(order: BroadcastCreate, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """Answers at once: workers send the messages. `task_id` is the task to watch or cancel.

    Each lead and each number gets one message at most. Opt-outs and the do-not-call list are asked again just before
    each message leaves. A message whose answer was lost is `uncertain` and never sent again.
    """
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> BroadcastView:
            try:
                broadcast = service.start(session, runtime, order)
            except service.BroadcastRefusedError as error:
                raise Problem(422, "Broadcast refused", str(error)) from None
            record_audit(session, actor=caller.actor, action="broadcast.started", subject=f"broadcast {broadcast.id}")
            return service.view(session, broadcast)

        return once.run(session, effect, status=202, headers=lambda made: {"Location": f"/api/broadcasts/{made.id}"})


@router.get("/broadcasts", summary="List broadcasts")
def list_broadcasts(caller: Viewer, runtime: RuntimeDep, paging: Paging) -> Page[BroadcastView]:
    """Newest first."""
    with runtime.database.tenant(caller.business_id) as session:
        found = service.list_broadcasts(session, before_id=paging.after_id, limit=paging.fetch)
        return paging.page([service.view(session, broadcast) for broadcast in found])


@router.get("/broadcasts/{broadcast_id}", summary="Show a broadcast")
def show(broadcast_id: RowId, caller: Viewer, runtime: RuntimeDep) -> BroadcastView:
    """Counts are the recipients themselves; deliveries go on after the task has ended."""
    with runtime.database.tenant(caller.business_id) as session:
        return service.view(session, _broadcast(session, broadcast_id))


@router.get("/broadcasts/{broadcast_id}/recipients", summary="List the recipients of a broadcast")
def list_recipients(
    broadcast_id: RowId,
    caller: Viewer,
    runtime: RuntimeDep,
    paging: Paging,
    state: Annotated[MessageState | None, Query(description="Only those in this state.")] = None,
) -> Page[RecipientView]:
    """Every lead of it, also those that get no message, and why."""
    with runtime.database.tenant(caller.business_id) as session:
        _broadcast(session, broadcast_id)
        found = service.recipients(
            session, broadcast_id, state=state, after_id=paging.after_id or 0, limit=paging.fetch
        )
        return paging.page(found)


@router.post("/opt-outs", summary="Opt addresses out", status_code=201, response_model=OptOutEntries)
def add_opt_outs(order: OptOutRequest, caller: Agent, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """From now on no broadcast reaches them. The list keeps hashes: it outlives the leads."""
    addresses = _addresses(order)
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> OptOutEntries:
            entries = opt_outs.add(session, order.channel, addresses, reason=order.reason)
            record_audit(session, actor=caller.actor, action="opt_outs.added", subject=f"{len(entries)} addresses")
            return OptOutEntries(items=[OptOutView.of(entry) for entry in entries])

        return once.run(session, effect, status=201)


@router.get("/opt-outs", summary="List opt-outs")
def list_opt_outs(
    caller: Viewer,
    runtime: RuntimeDep,
    channel: Channel,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9a-f]{64}$", description="`next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Entries on the page at most.")] = 50,
) -> OptOutPage:
    """Entries without their addresses, of which only hashes are kept."""
    after = bytes.fromhex(cursor) if cursor else None
    with runtime.database.tenant(caller.business_id) as session:
        found = opt_outs.entries(session, channel, after=after, limit=limit + 1)
        items = [OptOutView.of(entry) for entry in found[:limit]]
        return OptOutPage(items=items, next_cursor=items[-1].id if len(found) > limit else None)


@router.delete("/opt-outs/{channel}/{entry_id}", summary="Take an address off the opt-outs", status_code=204)
def remove_opt_out(channel: Channel, entry_id: EntryId, caller: Owner, runtime: RuntimeDep) -> None:
    """It may be written to again. The id of an address's entry is what opting it out again answers."""
    with runtime.database.tenant(caller.business_id) as session:
        if not opt_outs.remove(session, channel, bytes.fromhex(entry_id)):
            raise not_found("such entry")
        record_audit(session, actor=caller.actor, action="opt_outs.removed", subject=f"entry {entry_id[:12]}")


def _broadcast(session: Session, broadcast_id: int) -> Broadcast:
    try:
        return service.get(session, broadcast_id)
    except service.BroadcastNotFoundError:
        raise not_found(f"broadcast {broadcast_id}") from None


def _addresses(order: OptOutRequest) -> list[str]:
    """The addresses as they are compared, or a problem that names each wrong one by its place."""
    found, errors = [], []
    for index, address in enumerate(order.addresses):
        try:
            found.append(parse_phone(address) if order.channel is Channel.SMS else require_address(address))
        except ValueError as error:
            errors.append({"field": f"body.addresses.{index}", "message": str(error)})
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        detail = f"{errors[0]['field']}: {errors[0]['message']}{more}."
        raise Problem(422, "Invalid request", detail, errors=errors)
    return found
