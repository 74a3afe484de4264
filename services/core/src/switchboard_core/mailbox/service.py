"""The verbs of the mailbox domain: connect, list, rules, remove, sort; and how a task gets into a mailbox."""

import json
import time
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core.db import tenant_of
from switchboard_core.egress import Egress
from switchboard_core.jobs.schemas import TaskSnapshot
from switchboard_core.logs import get_logger
from switchboard_core.mailbox import oauth
from switchboard_core.mailbox.errors import WrongCredentialsError
from switchboard_core.mailbox.imap import CHECK_TIMEOUT_S, Account, ImapSession
from switchboard_core.mailbox.models import Mailbox
from switchboard_core.mailbox.oauth import Grant
from switchboard_core.mailbox.schemas import MailboxOrder, MailboxOut, OAuth2Login, Rule, Rules
from switchboard_core.mailbox.states import MailboxAuth
from switchboard_core.runtime import Runtime
from switchboard_core.settings import Settings
from switchboard_core.vault import service as vault
from switchboard_core.vault.sealing import UnreadableSecretError

log = get_logger(__name__)

VAULT_KIND = "mailbox"


class NoMailboxError(LookupError):
    """The business has connected no mailbox."""


class MailboxNotFoundError(LookupError):
    """The business has no such mailbox."""


class SeveralMailboxesError(Exception):
    """The business has several mailboxes and did not say which one is meant."""


class NoRulesError(Exception):
    """The mailbox has no rules to sort by."""


class MailboxExistsError(Exception):
    """The business has connected this mailbox already."""


class RuleFolderError(ValueError):
    """A rule moves messages into the folder that is sorted."""


class NotAReferenceError(ValueError):
    """What should refer to a mailbox does not."""


def credentials_reference(mailbox_id: int) -> str:
    """What stands for a mailbox's credentials in a job's payload: JSON with the mailbox's id, and no secret."""
    return json.dumps({"mailbox_id": mailbox_id})


def mailbox_id_of(credentials_json: str) -> int:
    """The mailbox that ``credentials_reference`` stands for.

    Raises:
        NotAReferenceError: it is something else, credentials themselves for instance; they do not belong there.
    """
    try:
        found = json.loads(credentials_json)
    except (ValueError, TypeError):
        found = None
    if isinstance(found, dict) and set(found) == {"mailbox_id"}:
        mailbox_id = found["mailbox_id"]
        if isinstance(mailbox_id, int) and not isinstance(mailbox_id, bool) and mailbox_id > 0:
            return mailbox_id
    msg = 'credentials_json must be a reference to a connected mailbox, {"mailbox_id": 1}, and nothing else.'
    raise NotAReferenceError(msg)


def check_login(settings: Settings, order: MailboxOrder) -> Grant | None:
    """Log in as the order says. Takes seconds: no transaction should be open meanwhile.

    Returns:
        The grant with its first access token, where OAuth2 is used.

    Raises:
        MailboxError: it does not work; the message says why.
    """
    egress = Egress(settings.trusted_hosts)
    grant = None
    if isinstance(order.login, OAuth2Login):
        secret = order.login.client_secret
        grant = oauth.renew(
            Grant(
                token_url=order.login.token_url,
                client_id=order.login.client_id,
                client_secret=secret.get_secret_value() if secret else None,
                refresh_token=order.login.refresh_token.get_secret_value(),
            ),
            egress,
            time.time(),
        )
    account = Account(
        host=order.host,
        port=order.resolved_port,
        security=order.security,
        username=order.username,
        password=None if isinstance(order.login, OAuth2Login) else order.login.password.get_secret_value(),
        access_token=grant.access_token if grant else None,
    )
    with ImapSession(account, egress, session_timeout_s=CHECK_TIMEOUT_S) as imap:
        imap.select(order.folder, readonly=True)
    return grant


def connect(session: Session, settings: Settings, order: MailboxOrder, grant: Grant | None) -> MailboxOut:
    """Keep a mailbox that ``check_login`` got into.

    Connecting one that is known replaces what opens it and keeps its rules.

    Args:
        session: bound to the business.
        settings: of the process.
        order: what was asked for.
        grant: from ``check_login``.

    Raises:
        KeysMissingError: this installation has no key to keep secrets with.
        RuleFolderError: a rule that it has moves messages into the folder that is to be sorted now.
    """
    business_id = tenant_of(session)
    if isinstance(order.login, OAuth2Login):
        if grant is None:
            msg = "the grant of check_login is needed"
            raise ValueError(msg)
        auth, secret = MailboxAuth.OAUTH2, grant.as_secret()
    else:
        auth, secret = MailboxAuth.PASSWORD, {"password": order.login.password.get_secret_value()}
    values = {
        "name": order.name or order.username[:200],
        "port": order.resolved_port,
        "security": order.security,
        "auth": auth,
        "folder": order.folder,
    }
    known = session.scalars(
        select(Mailbox)
        .where(Mailbox.business_id == business_id, Mailbox.host == order.host, Mailbox.username == order.username)
        .with_for_update()
    ).first()
    if known is not None:
        vault.replace(session, settings, known.credential_id, secret)
        for name, value in values.items():
            setattr(known, name, value)
        _check_folders(known, rules_of(known))
        known.updated_at = func.now()
        session.flush()
        session.refresh(known)
        return _out(known)
    values |= {"credential_id": vault.store(session, settings, VAULT_KIND, secret)}
    made = session.scalars(
        insert(Mailbox)
        .values(business_id=business_id, host=order.host, username=order.username, **values)
        .on_conflict_do_nothing(index_elements=["business_id", "host", "username"])
        .returning(Mailbox)
    ).first()
    if made is None:
        msg = "This mailbox is being connected by somebody else at this moment: look at the list, then try again."
        raise MailboxExistsError(msg)
    return _out(made)


def list_mailboxes(session: Session, *, after_id: int | None = None, limit: int = 50) -> list[MailboxOut]:
    """Mailboxes of the session's business, oldest first, from behind ``after_id``."""
    rows = session.scalars(
        select(Mailbox)
        .where(Mailbox.business_id == tenant_of(session), Mailbox.id > (after_id or 0))
        .order_by(Mailbox.id)
        .limit(limit)
    )
    return [_out(row) for row in rows]


def get_mailbox(session: Session, mailbox_id: int) -> MailboxOut:
    """One mailbox of the session's business.

    Raises:
        MailboxNotFoundError: it has no such mailbox.
    """
    return _out(row_of(session, mailbox_id))


def remove(session: Session, mailbox_id: int) -> None:
    """Forget a mailbox and what opens it. Its messages stay where they are.

    Raises:
        MailboxNotFoundError: the business has no such mailbox.
    """
    # The mailbox goes with the secret that opens it.
    vault.forget(session, row_of(session, mailbox_id).credential_id)


def set_rules(session: Session, mailbox_id: int, rules: Rules) -> MailboxOut:
    """Replace the rules of a mailbox.

    Raises:
        MailboxNotFoundError: the business has no such mailbox.
        RuleFolderError: a rule moves messages into the folder that is sorted.
    """
    row = row_of(session, mailbox_id)
    _check_folders(row, rules.rules)
    row.rules = [rule.model_dump(mode="json", exclude_none=True) for rule in rules.rules]
    row.updated_at = func.now()
    session.flush()
    session.refresh(row)
    return _out(row)


def _check_folders(row: Mailbox, rules: Sequence[Rule]) -> None:
    for rule in rules:
        if rule.action.move_to == row.folder:
            msg = f"The rule {rule.name!r} moves messages to {row.folder}, the folder that is sorted: name another one."
            raise RuleFolderError(msg)


def choose(session: Session, mailbox_id: int | None = None) -> Mailbox:
    """The mailbox that is meant: the one with this id, or else the only one.

    Raises:
        NoMailboxError: the business has none.
        SeveralMailboxesError: it has several and ``mailbox_id`` is None.
        MailboxNotFoundError: it has no such mailbox.
    """
    if mailbox_id is not None:
        return row_of(session, mailbox_id)
    rows: Sequence[Mailbox] = session.scalars(
        select(Mailbox).where(Mailbox.business_id == tenant_of(session)).order_by(Mailbox.id).limit(2)
    ).all()
    if not rows:
        msg = "No mailbox is connected: connect one with POST /api/mailboxes."
        raise NoMailboxError(msg)
    if len(rows) > 1:
        msg = "Several mailboxes are connected: say which one with mailbox_id; GET /api/mailboxes lists them."
        raise SeveralMailboxesError(msg)
    return rows[0]


def sort(session: Session, runtime: Runtime, mailbox_id: int | None = None) -> TaskSnapshot:
    """Sort a mailbox in the background; while it is being sorted, the task that does it.

    Raises:
        NoMailboxError: the business has none.
        SeveralMailboxesError: it has several and ``mailbox_id`` is None.
        MailboxNotFoundError: it has no such mailbox.
        NoRulesError: the mailbox has no rules.
    """
    mailbox = choose(session, mailbox_id)
    if not mailbox.rules:
        msg = f"The mailbox {mailbox.id} has no rules to sort by: set them with PUT /api/mailboxes/{mailbox.id}/rules."
        raise NoRulesError(msg)
    return runtime.tasks.create(
        session,
        "background_sort_task",
        {"credentials_json": credentials_reference(mailbox.id)},
        dedupe_key=f"background_sort_task:{mailbox.id}",
    )


def row_of(session: Session, mailbox_id: int) -> Mailbox:
    """The row of a mailbox of the session's business.

    Raises:
        MailboxNotFoundError: it has no such mailbox.
    """
    row = session.scalars(
        select(Mailbox).where(Mailbox.id == mailbox_id, Mailbox.business_id == tenant_of(session))
    ).first()
    if row is None:
        msg = f"There is no mailbox {mailbox_id}."
        raise MailboxNotFoundError(msg)
    return row


def rules_of(row: Mailbox) -> list[Rule]:
    """The rules of a mailbox."""
    return Rules(rules=row.rules).rules


def imap_session(runtime: Runtime, business_id: int, mailbox_id: int) -> ImapSession:
    """A connection to a mailbox, to be entered with ``with``. Opens and closes transactions of its own.

    An access token that ends soon is fetched anew and kept.

    Raises:
        MailboxNotFoundError: the business has no such mailbox.
        CredentialNotFoundError, KeysMissingError, UnreadableSecretError: what opens it cannot be read.
        MailboxError: the provider gives no access token.
    """
    with runtime.database.tenant(business_id) as session:
        row = row_of(session, mailbox_id)
        secret = vault.read(session, runtime.settings, row.credential_id)
    egress = Egress(runtime.settings.trusted_hosts)
    token = None
    if row.auth is MailboxAuth.OAUTH2:
        token = _access_token(runtime, business_id, row.credential_id, _grant(secret), egress)
    account = Account(row.host, row.port, row.security, row.username, secret.get("password"), token)
    return ImapSession(account, egress)


def _access_token(runtime: Runtime, business_id: int, credential_id: int, grant: Grant, egress: Egress) -> str | None:
    now = time.time()
    if grant.usable_at(now):
        return grant.access_token
    try:
        renewed = oauth.renew(grant, egress, now)
    except WrongCredentialsError:
        # Another worker may have been quicker, with a provider that takes each refresh token once.
        with runtime.database.tenant(business_id) as session:
            stored = _grant(vault.read(session, runtime.settings, credential_id))
        if stored.usable_at(now):
            return stored.access_token
        raise
    with runtime.database.tenant(business_id) as session:
        vault.replace(session, runtime.settings, credential_id, renewed.as_secret())
    log.info("access token renewed", credential_id=credential_id)
    return renewed.access_token


def _grant(secret: dict[str, object]) -> Grant:
    try:
        return Grant(**secret)  # type: ignore[arg-type]
    except TypeError:
        msg = "What opens this mailbox cannot be read: connect it again."
        raise UnreadableSecretError(msg) from None


def _out(row: Mailbox) -> MailboxOut:
    return MailboxOut(
        id=row.id,
        name=row.name,
        host=row.host,
        port=row.port,
        security=row.security,
        username=row.username,
        auth=row.auth,
        folder=row.folder,
        rules=rules_of(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
