"""Pages of the room accounts."""

from fastapi import APIRouter

router = APIRouter()
