"""The caller's business, its API keys and its audit log."""

from typing import Any

from fastapi import APIRouter, Response

from switchboard_api.auth import Owner, RuntimeDep, Viewer
from switchboard_api.idempotency import IdempotencyDep
from switchboard_api.pagination import Page, Paging, RowId
from switchboard_api.problems import Problem, not_found
from switchboard_core.tenancy import service
from switchboard_core.tenancy.schemas import (
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyOut,
    AuditEventOut,
    BusinessOut,
    BusinessUpdate,
)

router = APIRouter(prefix="/api", tags=["business"])


@router.get("/business", summary="Show the business")
def show_business(caller: Viewer, runtime: RuntimeDep) -> BusinessOut:
    """The business of the API key, with its limits and calling hours."""
    with runtime.database.tenant(caller.business_id) as session:
        return BusinessOut.of(service.get_business(session))


@router.patch("/business", summary="Change settings of the business")
def change_business(change: BusinessUpdate, caller: Owner, runtime: RuntimeDep) -> BusinessOut:
    """Fields that are left out stay as they are; each change is noted in the audit log."""
    with runtime.database.tenant(caller.business_id) as session:
        return BusinessOut.of(service.update_business(session, change, actor=caller.actor))


@router.post("/keys", summary="Create an API key", status_code=201, response_model=ApiKeyCreated)
def create_key(order: ApiKeyCreate, caller: Owner, runtime: RuntimeDep, once: IdempotencyDep) -> Response:
    """The answer has the secret, this one time: only its hash is stored, and a replay has null in its place."""
    with runtime.database.tenant(caller.business_id) as session:

        def effect() -> ApiKeyCreated:
            try:
                key, secret = service.create_api_key(
                    session, order.name, order.role, order.expires_at, actor=caller.actor
                )
            except service.ExpiryInThePastError as error:
                field = {"field": "body.expires_at", "message": str(error)}
                raise Problem(422, "Invalid request", str(error), errors=[field]) from None
            return ApiKeyCreated(**ApiKeyOut.of(key).model_dump(), secret=secret)

        return once.run(session, effect, status=201, remember=lambda body: body.model_copy(update={"secret": None}))


@router.get("/keys", summary="List API keys")
def list_keys(caller: Owner, runtime: RuntimeDep, paging: Paging) -> Page[ApiKeyOut]:
    """All keys, revoked and expired ones included, newest first; never a secret."""
    with runtime.database.tenant(caller.business_id) as session:
        keys = service.list_api_keys(session, before_id=paging.after_id, limit=paging.fetch)
        return paging.page([ApiKeyOut.of(key) for key in keys])


_REVOKE_RESPONSES: dict[int | str, dict[str, Any]] = {409: {"description": "It is the last working owner key."}}


@router.delete("/keys/{key_id}", summary="Revoke an API key", status_code=204, responses=_REVOKE_RESPONSES)
def revoke_key(key_id: RowId, caller: Owner, runtime: RuntimeDep) -> None:
    """It stops working at once. Revoking it again changes nothing; the last working owner key cannot be revoked."""
    with runtime.database.tenant(caller.business_id) as session:
        try:
            service.revoke_api_key(session, key_id, actor=caller.actor)
        except service.ApiKeyNotFoundError:
            raise not_found(f"API key {key_id}") from None
        except service.LastOwnerKeyError as error:
            raise Problem(409, "Last owner key", str(error)) from None


@router.get("/audit", summary="Read the audit log")
def list_audit(caller: Owner, runtime: RuntimeDep, paging: Paging) -> Page[AuditEventOut]:
    """Who changed keys and settings, newest first."""
    with runtime.database.tenant(caller.business_id) as session:
        events = service.list_audit(session, before_id=paging.after_id, limit=paging.fetch)
        return paging.page([AuditEventOut.of(event) for event in events])
