"""What goes in and out of judging over HTTP. Candidates are only ever named by where they are shown."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.catalogue.models import Criterion
from backend.judging.models import ComparisonKind, ComparisonState, Mark, Outcome
from backend.judging.models_lessons import LessonPurpose, QualificationState
from backend.kit.ids import GivenId

# A prefetch of more would only let leases run out unseen.
MAX_CLAIM = 5

# More marks on one image say no more than that it is bad.
MAX_REGIONS = 10

SkipReason = Literal["cannot_tell", "broken_image", "unclear_task", "uncomfortable"]
Reason = Literal["scale", "position", "viewpoint", "other"]


class Region(BaseModel):
    """Where in a candidate something is wrong, in fractions of its width and height: a point, or a box from (x, y)."""

    model_config = ConfigDict(extra="forbid")
    x: float = Field(ge=0, le=1)
    y: float = Field(ge=0, le=1)
    width: float | None = Field(None, gt=0, le=1)
    height: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _within_the_image(self) -> "Region":
        if (self.width is None) != (self.height is None):
            raise ValueError("A region is a point (x, y) or a box (x, y, width, height).")
        if self.x + (self.width or 0) > 1.0001 or self.y + (self.height or 0) > 1.0001:
            raise ValueError("The box reaches beyond the image: x + width and y + height are at most 1.")
        return self


Regions = Annotated[list[Region], Field(max_length=MAX_REGIONS)]


class MarkIn(BaseModel):
    """What is said of one shown candidate."""

    model_config = ConfigDict(extra="forbid")
    mark: Mark = Mark.NONE
    reasons: list[Reason] = []
    regions: Regions = []


class AnswerIn(BaseModel):
    """An annotator's answer.

    Win/lose: outcome `marks` with one entry of `marks` a candidate, in shown order. Pairwise and arena: outcome
    `choice` with `choice` left or right, `reasons` and `regions` against the other one, and `strength` (1 slightly,
    2 clearly better) where the project asks for it; or outcome `tie`, `both_good` or `both_bad`. Any kind: outcome
    `skip` with a `skip_reason`. `seconds` is the time the comparison was looked at.
    """

    model_config = ConfigDict(extra="forbid")
    outcome: Outcome
    choice: Literal["left", "right"] | None = None
    strength: Literal[1, 2] | None = None
    reasons: list[Reason] = []
    regions: Regions = []
    marks: list[MarkIn] | None = None
    skip_reason: SkipReason | None = None
    comment: str = Field("", max_length=2000)
    seconds: float | None = Field(None, ge=0, le=86_400)


class AnswerOut(BaseModel):
    """A stored answer in the same words, so that it can be shown and edited."""

    outcome: Outcome
    choice: Literal["left", "right"] | None
    strength: int | None
    reasons: list[str]
    regions: list[Region]
    marks: list[MarkIn]
    skip_reason: str | None
    comment: str


class ClaimIn(BaseModel):
    """Asks for the next comparisons; `holding` names assignments the client already has, whose leases are renewed."""

    model_config = ConfigDict(extra="forbid")
    count: int = Field(1, ge=0, le=MAX_CLAIM)
    holding: list[GivenId] = Field([], max_length=20)


class AnswerAndNextIn(AnswerIn):
    """An answer, and with `next` a claim that is made in the same step, once the answer is stored."""

    next: ClaimIn | None = None


class AssignmentOut(BaseModel):
    """One leased comparison, blinded: images are known by their shown position only."""

    id: int
    kind: ComparisonKind
    criterion: Criterion
    prompt: str
    subject_name: str
    width: int
    height: int
    images: list[str]
    subject: str
    mask: str
    lease_expires_at: datetime


class ProgressOut(BaseModel):
    """A person's own progress: `left` counts what is servable to them now, up to a bound (`left_is_bound`).

    It is null where it was not counted, with the claim that follows an answer.
    """

    done: int
    skipped: int
    left: int | None
    left_is_bound: bool
    seconds_each: float | None


class ClaimOut(BaseModel):
    """New leases, those of `holding` that are lost, and in `state` why nothing came.

    `finished`: you have judged all; `waiting`: others hold the rest; `empty`: nothing to judge yet; `paused`;
    `unqualified`: the project's test comes first. Where that concerns only the caller, `reason` says it in words.
    """

    items: list[AssignmentOut]
    lost: list[int]
    state: Literal["ready", "finished", "waiting", "empty", "paused", "unqualified"]
    reason: str | None = None
    progress: ProgressOut


class LeaseOut(BaseModel):
    id: int
    lease_expires_at: datetime


class JudgmentOut(BaseModel):
    """A judgment in its latest revision; `person_*` and `comparison_id` are given to leads only.

    `revealed` names the generators in shown order after an arena vote, where the project tells.
    """

    id: int
    assignment_id: int
    kind: ComparisonKind
    criterion: Criterion
    prompt: str
    revision: int
    answer: AnswerOut
    seconds: float | None
    is_simulated: bool
    created_at: datetime
    updated_at: datetime
    comparison_id: int | None = None
    person_id: int | None = None
    person_name: str | None = None
    revealed: list[str] | None = None


class JudgmentAndNextOut(JudgmentOut):
    """A judgment as it was stored, and what was leased next; null where a claim is to say what comes next."""

    next: ClaimOut | None = None


class AssignmentDetailOut(BaseModel):
    """One's own assignment and what one said of it, to look at it again or to change it."""

    assignment: AssignmentOut
    answer: AnswerOut | None


class ComparisonOut(BaseModel):
    """A comparison as a lead sees it."""

    id: int
    condition_id: int
    criterion: Criterion
    kind: ComparisonKind
    state: ComparisonState
    wanted: int
    open_slots: int
    judgments: int
    priority: int
    propensity: float
    candidate_ids: list[int]
    created_at: datetime


class SimulateIn(BaseModel):
    """How simulated annotators judge."""

    model_config = ConfigDict(extra="forbid")
    annotators: Annotated[int, Field(ge=1, le=200, description="How many of them.")] = 8
    error_rate: Annotated[
        float, Field(ge=0, le=1, description="Probability that a verdict is taken for its opposite.")
    ] = 0.1
    side_bias: Annotated[
        float, Field(ge=0, le=1, description="Probability of answering by side: the left one wins.")
    ] = 0.0
    judgments: Annotated[int | None, Field(ge=1, description="Stop after so many; null: all there is.")] = None
    criterion: Criterion | None = None
    seed: int = 0


class SimulationOut(BaseModel):
    job_id: int


class LessonOut(BaseModel):
    """A comparison with a known answer, as who learns from it may see it."""

    id: int
    kind: ComparisonKind
    criterion: Criterion
    prompt: str
    subject_name: str
    width: int
    height: int
    images: list[str]
    subject: str
    mask: str


class LessonFeedback(BaseModel):
    """What practice says to an answer, in the order shown."""

    is_right: bool
    expected: AnswerOut
    explanation: str


class QualificationOut(BaseModel):
    """An attempt at a project's test; `correct` is told once it has ended. `items` are the questions left."""

    state: QualificationState
    number: int
    total: int
    answered: int
    pass_mark: int
    correct: int | None
    items: list[LessonOut] = []


class LessonIn(BaseModel):
    """A lesson to be made of one's own judgment."""

    model_config = ConfigDict(extra="forbid")
    judgment_id: GivenId
    purpose: LessonPurpose
    explanation: str = Field("", max_length=2000)


class LessonsOfVerdicts(BaseModel):
    """How many lessons to make of what an exact judge is sure of."""

    model_config = ConfigDict(extra="forbid")
    practice: int = Field(5, ge=0, le=20)
    test: int = Field(10, ge=0, le=30)
