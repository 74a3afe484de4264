"""Transactions and counterparties of an accounting system."""

from fastapi import APIRouter

router = APIRouter(prefix="/api", tags=["ledger"])
