"""The verbs of tenancy: businesses, API keys and the audit log."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.db import Database, set_tenant, tenant_of
from switchboard_core.logs import get_logger, mask_number
from switchboard_core.sql import after_seconds, delete_batch
from switchboard_core.tenancy.models import ApiKey, AuditEvent, Business, IdempotencyKey, Role
from switchboard_core.tenancy.schemas import BusinessCreate, BusinessUpdate

log = get_logger(__name__)

KEY_MARK = "sbk_"
"""Every API key starts with it, so that secret scanners can find one that leaked."""

_SECRET_BYTES = 32
_SHOWN_PREFIX = 12
_LONGEST_SECRET = 200


class AuthenticationError(Exception):
    """The secret opens nothing; the message says why and what to do, and never repeats the secret."""


class ApiKeyNotFoundError(LookupError):
    """The business has no such key."""


class LastOwnerKeyError(Exception):
    """Without this key nobody could manage the business any more."""


class ExpiryInThePastError(ValueError):
    """A key would be born expired."""


@dataclass(frozen=True)
class Caller:
    """Who makes a request: one API key of one business."""

    business_id: int
    role: Role
    key_id: int
    key_name: str

    @property
    def actor(self) -> str:
        """How the audit log names them."""
        return f"key {self.key_id} ({self.key_name})"[:200]


def create_business(
    database: Database,
    name: str,
    *,
    actor: str = "operator",
    **settings: Any,  # noqa: ANN401 - checked by BusinessCreate
) -> Business:
    """Create a business.

    Works as the application's role: the id is taken first and made the tenant of the transaction, so that row-level
    security lets exactly this row in.

    Args:
        database: of the process.
        name: shown to people.
        actor: for the audit log.
        settings: fields of ``BusinessCreate`` (``call_cap=10``); what is left out gets the schema's default.

    Raises:
        pydantic.ValidationError: the name or a setting is wrong.
    """
    values = BusinessCreate(name=name, **settings).columns()
    with database.crossing() as session:
        business_id: int = session.execute(
            text("SELECT nextval(pg_get_serial_sequence('public.businesses', 'id'))")
        ).scalar_one()
        set_tenant(session, business_id)
        business = Business(id=business_id, **values)
        session.add(business)
        session.flush()
        session.refresh(business)
        record_audit(session, actor=actor, action="business.created", subject=f"business {business_id}")
    log.info("business created", business_id=business_id)
    return business


def business_names(database: Database) -> dict[int, str]:
    """The name of every business of the installation by its id, in order of id."""
    with database.crossing() as session:
        business_ids = sorted(ref.business_id for ref in crossing.businesses(session))
    names: dict[int, str] = {}
    for business_id in business_ids:
        with database.tenant(business_id) as session:
            names[business_id] = get_business(session).name
    return names


def get_business(session: Session) -> Business:
    """The session's business."""
    return session.get_one(Business, tenant_of(session))


def update_business(session: Session, change: BusinessUpdate, *, actor: str) -> Business:
    """Change the session's business and note what changed in the audit log.

    Args:
        session: bound to the business.
        change: fields that were not set stay as they are.
        actor: for the audit log.
    """
    business = session.get_one(Business, tenant_of(session), with_for_update=True)
    changed: dict[str, Any] = {}
    for column, value in change.columns().items():
        before = getattr(business, column)
        if before != value:
            setattr(business, column, value)
            changed[column] = {"from": _for_audit(before), "to": _for_audit(value)}
    if changed:
        session.flush()
        subject = f"business {business.id}"
        record_audit(session, actor=actor, action="business.updated", subject=subject, detail=changed)
        log.info("business updated", business_id=business.id, fields=sorted(changed))
    return business


def create_api_key(
    session: Session, name: str, role: Role, expires_at: datetime | None = None, *, actor: str = "operator"
) -> tuple[ApiKey, str]:
    """Create an API key of the session's business.

    Args:
        session: bound to the business.
        name: for people, to tell keys apart.
        role: what the key may do.
        expires_at: when it stops working, with a time zone; None for never.
        actor: for the audit log.

    Returns:
        The row, and the secret. Only its hash is stored: this is the one time that it can be shown.

    Raises:
        ExpiryInThePastError: it would never work.
    """
    if expires_at is not None and expires_at <= session.execute(select(func.clock_timestamp())).scalar_one():
        msg = "expires_at lies in the past: give a later moment, or none for a key that does not expire."
        raise ExpiryInThePastError(msg)
    secret = KEY_MARK + secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        business_id=tenant_of(session),
        name=name,
        role=role.value,
        prefix=secret[:_SHOWN_PREFIX],
        key_hash=_hash(secret),
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    session.refresh(key)
    detail = {"name": name, "role": role.value, "expires_at": expires_at.isoformat() if expires_at else None}
    record_audit(session, actor=actor, action="api_key.created", subject=f"key {key.id}", detail=detail)
    log.info("api key created", key_id=key.id, role=role.value)
    return key, secret


def revoke_api_key(session: Session, key_id: int, *, actor: str) -> ApiKey:
    """Stop a key of the session's business from working, at once; revoking it again changes nothing.

    Raises:
        ApiKeyNotFoundError: the business has no such key.
        LastOwnerKeyError: no other owner key works.
    """
    # Two owners who revoke each other's key take turns here, so that one of them stays.
    session.get_one(Business, tenant_of(session), with_for_update=True)
    key = session.get(ApiKey, key_id, populate_existing=True)
    if key is None:
        msg = f"There is no API key {key_id}."
        raise ApiKeyNotFoundError(msg)
    if key.revoked_at is not None:
        return key
    if key.role == Role.OWNER.value and not _other_owner_works(session, key_id):
        msg = "This is the last working owner key: create another owner key first, then revoke this one."
        raise LastOwnerKeyError(msg)
    key.revoked_at = session.execute(select(func.clock_timestamp())).scalar_one()
    session.flush()
    record_audit(session, actor=actor, action="api_key.revoked", subject=f"key {key.id}", detail={"name": key.name})
    log.info("api key revoked", key_id=key.id)
    return key


def list_api_keys(session: Session, *, before_id: int | None = None, limit: int = 50) -> list[ApiKey]:
    """Keys of the session's business, revoked ones included, newest first, from below ``before_id``."""
    query = select(ApiKey).order_by(ApiKey.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(ApiKey.id < before_id)
    return list(session.scalars(query))


def authenticate(database: Database, secret: str) -> Caller:
    """Who holds this secret.

    Args:
        database: of the process.
        secret: as sent by the client.

    Raises:
        AuthenticationError: it is unknown, expired or revoked.
    """
    if not secret.startswith(KEY_MARK) or len(secret) > _LONGEST_SECRET:
        msg = f"This is not an API key: keys start with {KEY_MARK} and are sent as `Authorization: Bearer {KEY_MARK}…`."
        raise AuthenticationError(msg)
    wanted = _hash(secret)
    with database.crossing() as session:
        ref = crossing.api_key(session, wanted)
        if ref is None:
            raise _unknown()
        set_tenant(session, ref.business_id)
        row = session.execute(
            select(ApiKey, (ApiKey.expires_at <= func.clock_timestamp()).label("expired")).where(ApiKey.id == ref.id)
        ).first()
    if row is None or not hmac.compare_digest(row.ApiKey.key_hash, wanted):
        raise _unknown()
    key: ApiKey = row.ApiKey
    if key.revoked_at is not None:
        msg = f"The API key {key.prefix}… was revoked: ask an owner of the business for a new one."
        raise AuthenticationError(msg)
    if row.expired:
        msg = f"The API key {key.prefix}… has expired: ask an owner of the business for a new one."
        raise AuthenticationError(msg)
    return Caller(key.business_id, Role(key.role), key.id, key.name)


def record_audit(
    session: Session, *, actor: str, action: str, subject: str, detail: dict[str, Any] | None = None
) -> None:
    """Note who did what, in the transaction that does it.

    Args:
        session: bound to the business.
        actor: a key (``Caller.actor``), or ``operator`` for the command line.
        action: ``noun.verb``, such as ``api_key.revoked``.
        subject: what it was done to, such as ``key 7``.
        detail: more, without secrets and without whole phone numbers.
    """
    session.add(
        AuditEvent(business_id=tenant_of(session), actor=actor, action=action, subject=subject, detail=detail or {})
    )
    session.flush()


def list_audit(session: Session, *, before_id: int | None = None, limit: int = 50) -> list[AuditEvent]:
    """Audit events of the session's business, newest first, from below ``before_id``."""
    query = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(AuditEvent.id < before_id)
    return list(session.scalars(query))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _unknown() -> AuthenticationError:
    return AuthenticationError("The API key is not known: check that it was copied whole.")


def _works() -> Iterable[ColumnElement[bool]]:
    return (
        ApiKey.revoked_at.is_(None),
        ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.clock_timestamp()),
    )


def _other_owner_works(session: Session, key_id: int) -> bool:
    query = select(ApiKey.id).where(ApiKey.role == Role.OWNER.value, ApiKey.id != key_id, *_works()).limit(1)
    return session.scalar(query) is not None


def _for_audit(value: object) -> object:
    """A column's value as JSON, with phone numbers masked."""
    if isinstance(value, list):
        return [mask_number(item) if isinstance(item, str) else item for item in value]
    return value if isinstance(value, int | float | str | None) else str(value)


def forget_idempotency_keys(session: Session, older_than_hours: int, limit: int) -> int:
    """Delete at most ``limit`` remembered answers of the session's business that no longer count; returns how many."""
    forgotten = IdempotencyKey.created_at < after_seconds(-3600.0 * older_than_hours)
    old = select(IdempotencyKey.id).where(forgotten).order_by(IdempotencyKey.created_at).limit(limit)
    return delete_batch(session, IdempotencyKey.id, old)
