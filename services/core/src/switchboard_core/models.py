"""Every model, so that one import fills the metadata."""

from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.db import Base
from switchboard_core.jobs.models import BackgroundJob, WorkerHeartbeat
from switchboard_core.leads.models import DoNotCall, Lead, LeadImport, LeadImportError
from switchboard_core.recordings.models import Recording
from switchboard_core.tenancy.models import ApiKey, AuditEvent, Business, CarrierAccount, IdempotencyKey
from switchboard_core.vault.models import Credential

metadata = Base.metadata

__all__ = [
    "ApiKey",
    "AuditEvent",
    "BackgroundJob",
    "Business",
    "CallAttempt",
    "CarrierAccount",
    "Credential",
    "DoNotCall",
    "IdempotencyKey",
    "Lead",
    "LeadImport",
    "LeadImportError",
    "OutboundCallJob",
    "OutboundCallRun",
    "Recording",
    "WorkerHeartbeat",
    "metadata",
]
