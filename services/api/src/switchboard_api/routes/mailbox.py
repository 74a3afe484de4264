"""Connected mailboxes: sort, receipts, search."""

from fastapi import APIRouter

router = APIRouter(prefix="/api", tags=["mailbox"])
