"""Pages of the room datasets."""

from fastapi import APIRouter

router = APIRouter()
