"""Users, payments and receipts."""

from fastapi import APIRouter

router = APIRouter(prefix="/api", tags=["receipts"])
