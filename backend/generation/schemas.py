"""What a generation asks for, over REST and in the job's payload."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.catalogue.models import Criterion, Split
from backend.judging.models import ComparisonKind
from backend.kit.ids import GivenId

MAX_SEEDS = 64
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class ComparisonPlan(BaseModel):
    """Which comparisons follow: groups of `k` (win_lose), pairs (pairwise), one of each generator (arena)."""

    model_config = ConfigDict(extra="forbid")
    kind: ComparisonKind
    criterion: Criterion = Criterion.SPATIAL_RATIONALITY
    wanted: int = Field(1, ge=1, le=25)
    """Judgments a comparison."""
    k: int = Field(4, ge=2, le=8)
    """Images of a win/lose comparison; the other kinds always show two."""


class MakeRequest(BaseModel):
    """Images of every wanted condition by every generator with every seed; what is there already is not made again."""

    model_config = ConfigDict(extra="forbid")
    generator_ids: Annotated[list[GivenId], Field(min_length=1, max_length=8)]
    split: Split | None = None
    """Only conditions of this split."""
    condition_limit: int | None = Field(None, ge=1)
    """Only the first conditions, in the order in which they were imported."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS)]
    """Numbers of the draws; from them each condition derives seeds of its own, the same for all generators."""
    comparisons: ComparisonPlan | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "MakeRequest":
        if len(set(self.generator_ids)) != len(self.generator_ids):
            raise ValueError("generator_ids names a generator twice")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds names a seed twice")
        if self.comparisons and self.comparisons.kind is ComparisonKind.ARENA and len(self.generator_ids) < 2:
            raise ValueError("an arena needs two generators or more")
        return self


class MakePayload(MakeRequest):
    """The payload of the job `generation.make`."""

    model_config = ConfigDict(extra="ignore")
    project_id: int


class GenerationOut(BaseModel):
    """The job that makes the images; its progress is at /api/v1/jobs/{job_id}."""

    job_id: int
    state: str
    result: dict[str, Any] | None = None
