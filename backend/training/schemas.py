"""What training takes in and gives out."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.kit.ids import GivenId


class RunIn(BaseModel):
    """A training to be started."""

    model_config = ConfigDict(extra="forbid")
    snapshot_id: GivenId = Field(description="The frozen dataset to train on.")
    recipe: str = Field(max_length=60, description="A name from GET /api/v1/recipes.")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description='Values that differ from the recipe\'s, as {"objective.beta": 500}.'
    )
    name: str | None = Field(None, min_length=1, max_length=120, description="“run 3” and so on when left away.")
    parent_generator_id: GivenId | None = Field(
        None, description="The generator to tune; the project's base generator when left away."
    )


class RecipeOut(BaseModel):
    name: str
    title: str
    needs: str
    description: str
    config: dict[str, Any]


class RecipesOut(BaseModel):
    items: list[RecipeOut]


class RunOut(BaseModel):
    """A run as lists show it; `url` is its page."""

    id: int
    project: str
    name: str
    state: str
    state_words: str
    recipe: str
    snapshot_id: int
    snapshot_hash: str | None
    parent_generator_id: int
    generator_id: int | None
    adapter_digest: str | None
    job_id: int | None
    step: int
    total_steps: int
    eta_seconds: float | None
    failure: str | None
    result: dict[str, Any] | None
    config_hash: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    url: str


class AttemptOut(BaseModel):
    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    exit_code: int | None
    first_step: int | None
    last_step: int | None


class CheckpointOut(BaseModel):
    step: int
    digest: str
    is_kept: bool
    created_at: datetime


class RunDetail(RunOut):
    config: dict[str, Any]
    attempts: list[AttemptOut]
    checkpoints: list[CheckpointOut]


class EventOut(BaseModel):
    """One line of the trainer's event stream."""

    seq: int
    kind: str
    step: int
    time: datetime
    body: dict[str, Any]


class EventsOut(BaseModel):
    """Events after the given `seq`, in order; `last_seq` is what to ask with next time."""

    items: list[EventOut]
    last_seq: int


class Series(BaseModel):
    """One curve: `steps[i]` goes with `values[i]`."""

    name: str
    source: str
    steps: list[int]
    values: list[float]


class CurvesOut(BaseModel):
    """All curves of a run as they stand; events up to `last_seq` are in them."""

    series: list[Series]
    last_seq: int
    step: int
    total_steps: int


class LogOut(BaseModel):
    """The end of the trainer's log of the latest attempt."""

    attempt: int | None
    text: str
