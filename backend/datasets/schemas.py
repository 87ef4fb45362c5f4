"""What goes into and comes out of the datasets room."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.datasets.models import SnapshotState
from backend.preferences.schemas import PairRules


class SnapshotIn(BaseModel):
    """A dataset to be frozen."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, min_length=1, max_length=120, description="“snapshot 3” and so on when left away.")
    rules: PairRules = PairRules()


class SnapshotOut(BaseModel):
    """A snapshot; `counts` and `content_hash` come when it is ready, `failure` says in words why it is not."""

    id: int
    project: str
    name: str
    state: SnapshotState
    rules: dict[str, Any]
    counts: dict[str, Any]
    content_hash: str | None
    archive_bytes: int | None
    job_id: int | None
    failure: str | None
    created_at: datetime
    url: str
    archive_url: str | None


class SnapshotsOut(BaseModel):
    """A page of snapshots, newest first."""

    items: list[SnapshotOut]
    next_cursor: str | None
