"""Transactions and counterparties of an accounting system: ``sync_ledger``."""

from switchboard_core.egress import Egress
from switchboard_core.jobs.slices import SliceFunction
from switchboard_core.ledger.sync import AsyncSyncService
from switchboard_core.runtime import Runtime


def tasks(runtime: Runtime) -> dict[str, SliceFunction]:
    """Every kind of job of this domain."""
    return {"sync_ledger": AsyncSyncService(runtime.database, Egress(runtime.settings.trusted_hosts)).task}
