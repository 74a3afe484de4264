"""Every model, so that one import fills the metadata."""

from switchboard_core.broadcasts.models import Broadcast, BroadcastRecipient, IncomingMessage, MessageRate, OptOut
from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun, RateLine
from switchboard_core.db import Base
from switchboard_core.jobs.models import BackgroundJob, WorkerHeartbeat
from switchboard_core.leads.models import DoNotCall, Lead, LeadImport, LeadImportError
from switchboard_core.ledger.models import Counterparty, LedgerConnection, Transaction
from switchboard_core.mailbox.models import Mailbox, MailboxPosition, MailboxReceipt, SortedMessage, VoiceQuery
from switchboard_core.outbox.models import MailAccount, OutgoingMessage
from switchboard_core.receipts.models import AppUser, Payment, Receipt, ReceiptTemplate
from switchboard_core.recordings.models import Recording
from switchboard_core.tenancy.models import ApiKey, AuditEvent, Business, CarrierAccount, IdempotencyKey
from switchboard_core.vault.models import Credential

metadata = Base.metadata

__all__ = [
    "ApiKey",
    "AppUser",
    "AuditEvent",
    "BackgroundJob",
    "Broadcast",
    "BroadcastRecipient",
    "Business",
    "CallAttempt",
    "CarrierAccount",
    "Counterparty",
    "Credential",
    "DoNotCall",
    "IdempotencyKey",
    "IncomingMessage",
    "Lead",
    "LeadImport",
    "LeadImportError",
    "LedgerConnection",
    "MailAccount",
    "Mailbox",
    "MailboxPosition",
    "MailboxReceipt",
    "MessageRate",
    "OptOut",
    "OutboundCallJob",
    "OutboundCallRun",
    "OutgoingMessage",
    "Payment",
    "RateLine",
    "Receipt",
    "ReceiptTemplate",
    "Recording",
    "SortedMessage",
    "Transaction",
    "VoiceQuery",
    "WorkerHeartbeat",
    "metadata",
]
