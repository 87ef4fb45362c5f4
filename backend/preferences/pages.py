"""Pages of the room preferences."""

from fastapi import APIRouter

router = APIRouter()
