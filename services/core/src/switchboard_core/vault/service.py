"""The verbs of the vault."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from switchboard_core.db import tenant_of
from switchboard_core.settings import Settings
from switchboard_core.vault.models import Credential
from switchboard_core.vault.sealing import Sealer, UnreadableSecretError


class CredentialNotFoundError(LookupError):
    """The business has no such secret any more."""


def store(session: Session, settings: Settings, kind: str, secret: dict[str, Any]) -> int:
    """Keep a secret of the session's business; returns its id.

    Raises:
        KeysMissingError: this installation has no key.
    """
    business_id = tenant_of(session)
    sealed = Sealer(settings.credentials_keys).seal(business_id, kind, secret)
    row = Credential(business_id=business_id, kind=kind, sealed=sealed)
    session.add(row)
    session.flush()
    return row.id


def replace(session: Session, settings: Settings, credential_id: int, secret: dict[str, Any]) -> None:
    """Keep another secret in an existing row.

    Raises:
        CredentialNotFoundError: the business has no such row.
        KeysMissingError: this installation has no key.
    """
    row = _row(session, credential_id)
    row.sealed = Sealer(settings.credentials_keys).seal(row.business_id, row.kind, secret)
    row.updated_at = func.now()
    session.flush()


def read(session: Session, settings: Settings, credential_id: int) -> dict[str, Any]:
    """Open a secret of the session's business.

    Raises:
        CredentialNotFoundError: the business has no such row.
        KeysMissingError: this installation has no key.
        UnreadableSecretError: the key that sealed it is gone.
    """
    row = _row(session, credential_id)
    return Sealer(settings.credentials_keys).open(row.business_id, row.kind, row.sealed)


def forget(session: Session, credential_id: int) -> None:
    """Delete a secret of the session's business."""
    session.execute(
        delete(Credential).where(Credential.id == credential_id, Credential.business_id == tenant_of(session))
    )


@dataclass(frozen=True)
class Resealed:
    """What became of a business's secrets.

    Attributes:
        changed: how many were sealed with an older key, and are with the newest one now.
        unreadable: ids of those that no key opens; they are left as they were.
    """

    changed: int
    unreadable: tuple[int, ...]


def reseal_all(session: Session, settings: Settings) -> Resealed:
    """Seal all secrets of the session's business with the newest key.

    Raises:
        KeysMissingError: this installation has no key.
    """
    sealer, changed = Sealer(settings.credentials_keys), 0
    unreadable: list[int] = []
    rows = session.scalars(
        select(Credential).where(Credential.business_id == tenant_of(session)).order_by(Credential.id).with_for_update()
    )
    for row in rows:
        try:
            sealed = sealer.reseal(row.sealed)
        except UnreadableSecretError:
            # One account that has to be connected again must not keep the others under a key that is to go.
            unreadable.append(row.id)
            continue
        if sealed is not None:
            row.sealed = sealed
            changed += 1
    session.flush()
    return Resealed(changed, tuple(unreadable))


def _row(session: Session, credential_id: int) -> Credential:
    row = session.scalars(
        select(Credential).where(Credential.id == credential_id, Credential.business_id == tenant_of(session))
    ).first()
    if row is None:
        msg = "The stored secret is gone: connect the account again."
        raise CredentialNotFoundError(msg)
    return row
