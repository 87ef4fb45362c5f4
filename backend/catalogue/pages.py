"""Pages of the room catalogue."""

from fastapi import APIRouter

router = APIRouter()
