"""Words that rows of the ledger carry."""

from enum import StrEnum


class ConnectionKind(StrEnum):
    """Where the documents of a connection come from."""

    API = "api"
    CSV = "csv"


class ConnectionState(StrEnum):
    """How the last sync of a connection ended. Whatever it says, a sync may be started."""

    READY = "ready"
    """There was none yet, or it completed."""
    FAILED = "failed"
    """It failed; the connection's ``reason`` says why and what to do."""


class TransactionStatus(StrEnum):
    """What has become of a transaction in the books."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"


class Collection(StrEnum):
    """Kinds of documents, in the order in which they are synced: transactions refer to counterparties."""

    COUNTERPARTIES = "counterparties"
    TRANSACTIONS = "transactions"

    @property
    def singular(self) -> str:
        """One document of it, for people."""
        return "counterparty" if self is Collection.COUNTERPARTIES else "transaction"
