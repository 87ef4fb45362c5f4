"""What the catalogue takes in and gives out over REST."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.catalogue.models import Criterion, Split
from backend.kit.ids import GivenId

SLUG = r"^[a-z0-9]+(?:-[a-z0-9]+)*$"
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
# Words a slug cannot be: they would hide a page under /projects/.
RESERVED_SLUGS = frozenset({"new"})


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ProjectSettings(BaseModel):
    """How judging goes in a project. Unknown keys are kept, so that a newer room's settings survive an older form."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)
    judgments_per_comparison: int = Field(1, ge=1, le=25)
    """How many people judge each new comparison."""
    most_judgments_per_comparison: int = Field(0, ge=0, le=50)
    """Where people disagree, one more is asked at a time, up to so many; 0 never."""
    agreement_wanted: float = Field(0.75, gt=0, le=1)
    """Share of the leading answer from which on people are taken to agree."""
    quota: int | None = Field(None, ge=0)
    """How many judgments each annotator may give; none for as many as there are."""
    gold_rate: float = Field(0.0, ge=0, le=0.5)
    """Share of what is served that has a known answer."""
    repeat_rate: float = Field(0.0, ge=0, le=0.3)
    """Share of what is served that the annotator has judged before."""
    gold_pass_percent: int = Field(0, ge=0, le=100)
    """An annotator who gives fewer of the known answers is paused; 0 never."""
    gold_minimum: int = Field(8, ge=3, le=200)
    """Known answers to be met before that."""
    choice: Literal["random", "active"] = "random"
    """Which comparison of two generators comes next: any, or the one from which the ratings learn most."""
    random_share: float = Field(0.1, ge=0.05, le=1)
    """Part of an active choice that stays random."""
    paused: bool = False
    """Nothing is served until this is off again."""
    reasons: Literal["off", "optional", "required"] = "optional"
    """Whether a loser's reasons are asked for."""
    send_when_complete: bool = True
    """An answer that is complete sends itself."""
    allow_incomplete: bool = False
    """An answer without any win or lose may be sent."""
    best_worst: bool = False
    """Win/lose over several names exactly one best and one worst."""
    ask_strength: bool = False
    """A choice between two says whether it is slightly or clearly better."""
    mark_regions: bool = True
    """Where a hallucination is may be marked in the image."""
    reveal_after_vote: bool = False
    """Who made the two images of an arena is told after the vote, which then stands."""
    break_minutes: int = Field(25, ge=0, le=240)
    """A break is suggested after so many minutes without one; 0 never."""
    qualification_required: bool = False
    """Annotators judge only once they have passed the test."""
    qualification_pass_mark: int = Field(80, ge=1, le=100)
    """Percent of the test's questions that must be right."""
    qualification_attempts: int = Field(3, ge=1, le=20)
    """How often the test may be taken."""
    show_agreement: bool = True
    """Annotators see how often they agree with the checks."""


class ProjectCreate(BaseModel):
    """A new project; whoever makes it becomes its first member."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    slug: Annotated[str, Field(pattern=SLUG, max_length=60)] | None = None
    """Short name in URLs; made from the name where it is missing."""
    guidelines: Annotated[str, Field(max_length=100_000)] = ""
    criteria: Annotated[list[Criterion], Field(min_length=1)] = [Criterion.SPATIAL_RATIONALITY]
    settings: ProjectSettings = ProjectSettings()


class ProjectChange(BaseModel):
    """What is given is changed, the rest stays."""

    model_config = ConfigDict(extra="forbid")
    name: Name | None = None
    guidelines: Annotated[str, Field(max_length=100_000)] | None = None
    criteria: Annotated[list[Criterion], Field(min_length=1)] | None = None
    settings: dict[str, Any] | None = None


class ProjectOut(Out):
    id: int
    slug: str
    name: str
    guidelines: str
    criteria: list[Criterion]
    settings: dict[str, Any]
    is_demo: bool
    created_at: datetime


class ProjectCounts(BaseModel):
    subjects: int
    conditions: int
    train_conditions: int
    validation_conditions: int
    generators: int
    candidates: int


class MemberOut(Out):
    id: int
    name: str
    email: str
    role: str
    is_simulated: bool


class SubjectOut(Out):
    id: int
    external_id: str
    name: str
    split: Split
    cutout_digest: str | None
    created_at: datetime


class ConditionOut(Out):
    id: int
    external_id: str
    subject_id: int
    split: Split
    prompt: str
    image_digest: str
    mask_digest: str
    width: int
    height: int
    spec: dict[str, Any] | None
    created_at: datetime


class SamplerIn(BaseModel):
    """How a generator samples; the trainer's own settings."""

    model_config = ConfigDict(extra="forbid")
    steps: int = Field(20, ge=1, le=1000)
    guidance: float = Field(1.0, ge=0)


class GeneratorCreate(BaseModel):
    """A generator that samples (`base` given) or one that is known only by imported images (`base` null)."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    base: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)] | None = None
    """`spatialworld`, a folder in diffusers format on the worker, or a hub id."""
    sampler: SamplerIn = SamplerIn()
    parent_id: GivenId | None = None


class GeneratorChange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Name | None = None
    base: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)] | None = None
    sampler: SamplerIn | None = None


class GeneratorOut(Out):
    id: int
    name: str
    base: str | None
    adapter_digest: str | None
    sampler: dict[str, Any]
    parent_id: int | None
    run_id: int | None
    is_frozen: bool
    created_at: datetime


class VerdictOut(Out):
    judge: str
    rational: bool | None
    reasons: list[str]
    margin: float
    measured: dict[str, Any]


class CandidateOut(Out):
    id: int
    condition_id: int
    generator_id: int
    seed: int
    sampler: dict[str, Any]
    image_digest: str
    width: int
    height: int
    created_at: datetime
    verdicts: list[VerdictOut] = []


class ImportRecord(Out):
    id: int
    content_hash: str
    counts: dict[str, Any]
    created_by_id: int | None
    created_at: datetime


class BucketImport(BaseModel):
    """An import from a bucket prefix that holds manifest.jsonl or manifest.csv."""

    model_config = ConfigDict(extra="forbid")
    source: Annotated[str, Field(pattern=r"^s3://[^/]+(/.*)?$", max_length=1000)]


class RowProblem(BaseModel):
    row: int
    """The line of the manifest, counted from 1; 0 for the import as a whole."""
    message: str


class ImportResult(BaseModel):
    """What an import did, or would do where it was only checked."""

    ok: bool
    written: bool
    summary: str
    rows: int
    problems: list[RowProblem]
    warnings: list[RowProblem]
    counts: dict[str, dict[str, int]]
    import_id: int | None
    content_hash: str | None
