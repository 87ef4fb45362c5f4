"""What goes in and out of supervising a project's serving over HTTP."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from backend.catalogue.models import Criterion
from backend.judging.models import ComparisonKind
from backend.kit.ids import GivenId


class PauseIn(BaseModel):
    """Why an annotator is paused, in words they are shown."""

    model_config = ConfigDict(extra="forbid")
    words: str = Field("", max_length=500)


class QuotaIn(BaseModel):
    """How many judgments one annotator may give; null for the project's own number."""

    model_config = ConfigDict(extra="forbid")
    quota: int | None = Field(None, ge=0)


class GoldIn(BaseModel):
    """One's own judgment, whose answer everybody is expected to give."""

    model_config = ConfigDict(extra="forbid")
    judgment_id: GivenId
    explanation: str = Field("", max_length=2000)


class GoldOfVerdicts(BaseModel):
    """How many comparisons get the answer that an exact judge's verdicts settle."""

    model_config = ConfigDict(extra="forbid")
    count: Annotated[int, Field(ge=1, le=200)] = 20


class PriorityIn(BaseModel):
    """Which open comparisons get a priority; higher goes first, new ones have 0. None of the filters: all."""

    model_config = ConfigDict(extra="forbid")
    priority: int = Field(ge=-100, le=100)
    kind: ComparisonKind | None = None
    criterion: Criterion | None = None
    generator: GivenId | None = None


class CountOut(BaseModel):
    count: int


class GoldOut(BaseModel):
    """A known answer, how often it was met and how often given."""

    comparison_id: int
    condition_id: int
    expected: dict[str, Any]
    explanation: str
    seen: int
    right: int


class StandingOut(BaseModel):
    """Where one annotator stands in a project."""

    person_id: int
    name: str
    is_simulated: bool
    done: int
    skipped: int
    seconds_each: float | None
    gold_seen: int
    gold_right: int
    quota: int | None
    is_paused: bool
    pause_words: str
