"""Jobs as clients see them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.jobs.models import JobState


class JobOut(BaseModel):
    """One job; the payload is left out, since it may name what its reader must not see."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    kind: str
    queue: str
    state: JobState
    priority: int
    project_id: int | None
    attempts: int
    max_attempts: int
    worker: str | None
    cancel_requested: bool
    progress_done: int
    progress_total: int | None = Field(description="Null where the job does not know its size.")
    progress_message: str | None
    result: dict[str, Any] | None
    error_code: str | None
    error_message: str | None = Field(
        description="In words for people; also set while a failed attempt waits to be retried."
    )
    run_after: datetime | None = Field(description="When the next attempt may start at the earliest.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
