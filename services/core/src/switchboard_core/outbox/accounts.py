"""The mail account of a business: kept, checked, and made ready for sending."""

from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, formataddr

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from switchboard_core.db import tenant_of
from switchboard_core.mailbox.imap import Account as ImapAccount
from switchboard_core.mailbox.imap import Security as ImapSecurity
from switchboard_core.outbox.errors import AddressRefusedError
from switchboard_core.outbox.models import MailAccount, OutgoingMessage, Security
from switchboard_core.outbox.schemas import MailAccountIn, MailAccountOut, MailArchiveOut
from switchboard_core.outbox.smtp import Server, in_ascii
from switchboard_core.settings import Settings
from switchboard_core.vault import service as vault
from switchboard_core.vault.sealing import KeysMissingError, UnreadableSecretError

VAULT_KIND = "smtp"

_NO_ACCOUNT = "No mail account is connected: connect one with PUT /api/receipts/mail-account."


class AccountError(Exception):
    """The business has no mail account that could be used; the text says what to do."""


class NoAccountError(AccountError):
    """The business has connected no mail account."""


@dataclass(frozen=True)
class ArchivePlace:
    """Where blind copies can be looked for.

    Attributes:
        account: of the IMAP server.
        folder: in which they arrive.
    """

    account: ImapAccount
    folder: str


@dataclass(frozen=True)
class Sender:
    """A mail account, ready for sending.

    Attributes:
        server: where to hand mail in.
        from_address: of header and envelope.
        from_name: shown beside it.
        archive: gets a blind copy of every mail, if any.
        place: where the copies are.
    """

    server: Server
    from_address: str
    from_name: str | None
    archive: str | None = None
    place: ArchivePlace | None = field(default=None, repr=False)

    @property
    def domain(self) -> str:
        """Right-hand side of our Message-IDs."""
        return domain_of(self.from_address)

    def address(self, letter: EmailMessage, message: OutgoingMessage, header: str) -> None:
        """Add the headers that say who writes to whom; the same in every attempt.

        Raises:
            AddressRefusedError: there can be no such recipient.
        """
        letter["From"] = formataddr((self.from_name or "", in_ascii(self.from_address)))
        try:
            letter["To"] = in_ascii(message.recipient or "")
        except UnicodeError as error:
            msg = "The address was refused: its domain has characters that no domain may have."
            raise AddressRefusedError(msg) from error
        letter["Date"] = format_datetime(message.created_at)
        letter["Message-ID"] = header
        letter["Auto-Submitted"] = "auto-generated"


def domain_of(address: str) -> str:
    """The domain of an address, in ASCII."""
    return in_ascii(address).rpartition("@")[2]


def get(session: Session) -> MailAccount:
    """The account of the session's business.

    Raises:
        NoAccountError: it has none.
    """
    account = _row(session)
    if account is None:
        raise NoAccountError(_NO_ACCOUNT)
    return account


def put(session: Session, settings: Settings, order: MailAccountIn) -> MailAccount:
    """Connect an account, in place of the one before.

    A password that is left out stays what it was, as long as server and user name do: it is never shown to another
    server than the one that it was given for.

    Raises:
        KeysMissingError: this installation has no key to keep a password with.
        UnreadableSecretError: the password before cannot be read and none was given.
        CredentialNotFoundError: likewise.
    """
    account = _row(session)
    secret = _secret(session, settings, account, order)
    if account is None:
        account = MailAccount(business_id=tenant_of(session), host=order.host, port=order.port)
        session.add(account)
    for name in ("host", "port", "security", "username", "from_address", "from_name"):
        setattr(account, name, getattr(order, name))
    archive = order.archive
    account.archive_address = archive.address if archive else None
    for name in ("host", "port", "security", "username", "folder"):
        setattr(account, f"archive_{name}", getattr(archive, name) if archive else None)
    account.updated_at = func.now()
    _keep(session, settings, account, secret)
    session.flush()
    session.refresh(account)
    return account


def remove(session: Session) -> None:
    """Disconnect the account of the session's business and forget its passwords.

    Raises:
        NoAccountError: it has none.
    """
    account = get(session)
    if account.credential_id is not None:
        vault.forget(session, account.credential_id)
    session.delete(account)
    session.flush()


def _row(session: Session) -> MailAccount | None:
    return session.scalars(select(MailAccount).where(MailAccount.business_id == tenant_of(session))).first()


def _secret(session: Session, settings: Settings, account: MailAccount | None, order: MailAccountIn) -> dict[str, str]:
    """The passwords of the account as it shall be."""
    before: dict[str, str] = {}
    if account is not None and account.credential_id is not None:
        stays = (account.host, account.username) == (order.host, order.username) and order.password is None
        archive = order.archive
        archive_stays = (
            archive is not None
            and archive.password is None
            and (account.archive_host, account.archive_username) == (archive.host, archive.username)
        )
        if stays or archive_stays:
            known = vault.read(session, settings, account.credential_id)
            before |= {"password": known["password"]} if stays and "password" in known else {}
            before |= {"archive": known["archive"]} if archive_stays and "archive" in known else {}
    given = {
        "password": order.password.get_secret_value() if order.password else None,
        "archive": order.archive.password.get_secret_value() if order.archive and order.archive.password else None,
    }
    return before | {name: value for name, value in given.items() if value is not None}


def _keep(session: Session, settings: Settings, account: MailAccount, secret: dict[str, str]) -> None:
    if account.credential_id is not None and secret:
        vault.replace(session, settings, account.credential_id, secret)
    elif secret:
        account.credential_id = vault.store(session, settings, VAULT_KIND, secret)
    elif account.credential_id is not None:
        vault.forget(session, account.credential_id)
        account.credential_id = None


def sender(session: Session, settings: Settings) -> Sender:
    """The account of the session's business with its passwords.

    Raises:
        AccountError: it has none, or its password cannot be read.
    """
    account = get(session)
    secret: dict[str, str] = {}
    if account.credential_id is not None:
        try:
            secret = vault.read(session, settings, account.credential_id)
        except (KeysMissingError, UnreadableSecretError, vault.CredentialNotFoundError) as error:
            raise AccountError(str(error)) from error
    if account.username is not None and "password" not in secret:
        msg = "The mail account has a user name but no password: connect it again with PUT /api/receipts/mail-account."
        raise AccountError(msg)
    server = Server(
        host=account.host,
        port=account.port,
        security=Security(account.security),
        greeting=domain_of(account.from_address),
        username=account.username,
        password=secret.get("password", ""),
    )
    return Sender(server, account.from_address, account.from_name, account.archive_address, _place(account, secret))


def _place(account: MailAccount, secret: dict[str, str]) -> ArchivePlace | None:
    if account.archive_host is None or account.archive_port is None or account.archive_security is None:
        return None
    imap = ImapAccount(
        host=account.archive_host,
        port=account.archive_port,
        security=ImapSecurity(account.archive_security.value),
        username=account.archive_username or "",
        password=secret.get("archive", ""),
    )
    return ArchivePlace(imap, account.archive_folder or "INBOX")


def shown(account: MailAccount) -> MailAccountOut:
    """An account as people see it: without its passwords."""
    archive = None
    if account.archive_address is not None:
        archive = MailArchiveOut(
            address=account.archive_address,
            host=account.archive_host or "",
            port=account.archive_port or 0,
            security=account.archive_security or Security.TLS,
            username=account.archive_username or "",
            folder=account.archive_folder or "INBOX",
        )
    return MailAccountOut(
        host=account.host,
        port=account.port,
        security=account.security,
        username=account.username,
        from_address=account.from_address,
        from_name=account.from_name,
        has_password=account.credential_id is not None,
        archive=archive,
        updated_at=account.updated_at,
    )
