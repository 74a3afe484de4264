"""Messages to many leads."""

from fastapi import APIRouter

router = APIRouter(prefix="/api", tags=["broadcasts"])
