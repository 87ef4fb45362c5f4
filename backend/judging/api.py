"""REST of the room judging."""

from fastapi import APIRouter

router = APIRouter()
