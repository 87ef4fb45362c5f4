"""REST of the room jobs."""

from fastapi import APIRouter

router = APIRouter()
