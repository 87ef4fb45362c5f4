"""REST of the room training."""

from fastapi import APIRouter

router = APIRouter()
