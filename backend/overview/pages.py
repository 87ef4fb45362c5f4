"""Pages seen from the top."""

from fastapi import APIRouter

router = APIRouter()
