"""Pages of the room generation."""

from fastapi import APIRouter

router = APIRouter()
