"""What a project's page says: the five stations, what is at work, and the next sensible step."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from backend.catalogue.models import Generator, Project, Split
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs.models import Job
from backend.judging.models import ComparisonKind
from backend.overview import repository
from backend.overview.repository import Waiting
from backend.preferences.remembered import Version, remembered
from backend.training.models import ACTIVE_RUN_STATES, Run, RunState

# Fewer judgments than this rarely leave a high-contrast pair in both splits.
JUDGMENTS_BEFORE_A_DATASET = 50


@dataclass(frozen=True)
class Stock:
    """What a project holds: conditions, subjects, each generator's candidates, and what exact judges say of them."""

    conditions: dict[Split, int]
    subjects: int
    made: dict[int, int]
    rationality: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class JudgmentCounts:
    """Judgments given so far, and how many slots of open comparisons still wait, in all and in the arena."""

    by_people: int
    simulated: int
    waiting: int
    waiting_in_arena: int


@dataclass(frozen=True)
class Overview:
    """The state of one project's loop; `as_of` is null where all of it was counted for this look.

    `run_is_judged` tells whether the arena has judged the generator of `run`.
    """

    conditions: dict[Split, int]
    subjects: int
    generators: list[tuple[Generator, int]]
    judgments: JudgmentCounts
    as_of: datetime | None
    snapshot: Snapshot | None
    run: Run | None
    run_is_judged: bool
    runs: int
    jobs: list[Job]
    failed_job: Job | None
    rationality: dict[int, tuple[int, int]]

    @property
    def condition_count(self) -> int:
        return sum(self.conditions.values())

    @property
    def candidate_count(self) -> int:
        return sum(made for _, made in self.generators)

    @property
    def judgment_count(self) -> int:
        return self.judgments.by_people + self.judgments.simulated


@dataclass(frozen=True)
class Step:
    """The one thing to do next: where its button leads, relative to the project, and why."""

    label: str
    path: str
    because: str


def read_overview(session: Session, project: Project) -> Overview:
    stock, counted = _stock(session, project.id)
    by_people, simulated = repository.answers_given(session, project.id)
    waiting, asked = _waiting(session, project.id)
    run = repository.latest_run(session, project.id)
    return Overview(
        conditions=stock.conditions,
        subjects=stock.subjects,
        generators=[(one, stock.made.get(one.id, 0)) for one in repository.generators(session, project.id)],
        judgments=JudgmentCounts(by_people, simulated, waiting.slots, waiting.in_arena),
        as_of=min((moment for moment in (counted, asked) if moment), default=None),
        snapshot=repository.latest_snapshot(session, project.id),
        run=run,
        run_is_judged=bool(run and run.generator_id and repository.is_judged_in_arena(session, run.generator_id)),
        runs=repository.run_count(session, project.id),
        jobs=repository.jobs_at_work(session, project.id),
        failed_job=repository.last_failed_job(session, project.id),
        rationality=stock.rationality,
    )


def _stock(session: Session, project_id: int) -> tuple[Stock, datetime | None]:
    if not repository.has_many(session, project_id):
        return _count_stock(session, project_id), None
    version = Version(repository.newest_candidate(session, project_id), True)
    return remembered(session, ("stock", project_id), version, lambda own: _count_stock(own, project_id))


def _count_stock(session: Session, project_id: int) -> Stock:
    return Stock(
        conditions=repository.conditions_by_split(session, project_id),
        subjects=repository.subject_count(session, project_id),
        made=repository.candidates_by_generator(session, project_id),
        rationality=repository.rationality(session, project_id, Split.VALIDATION),
    )


def _waiting(session: Session, project_id: int) -> tuple[Waiting, datetime | None]:
    waiting, comparisons = repository.open_slots(session, project_id, repository.MANY_OPEN + 1)
    if comparisons <= repository.MANY_OPEN:
        return waiting, None
    version = Version(sum(repository.answers_given(session, project_id)), True)
    return remembered(session, ("waiting", project_id), version, lambda own: repository.open_slots(own, project_id)[0])


def wanted(session: Session, project_id: int) -> str:
    """How many judgments are wanted now, as “1,234” or “5,000+”; empty for none."""
    waiting, comparisons = repository.open_slots(session, project_id, repository.MANY_OPEN + 1)
    if comparisons > repository.MANY_OPEN:
        return f"{repository.MANY_OPEN:,}+"
    return f"{waiting.slots:,}" if waiting.slots else ""


def next_step(overview: Overview) -> Step:
    """The next sensible step of the loop."""
    return _before_judging(overview) or _before_training(overview) or _after_training(overview)


def _before_judging(overview: Overview) -> Step | None:
    if not overview.condition_count:
        if overview.jobs:
            return Step("See the jobs", "/jobs", "The project is being filled; nothing can be judged yet.")
        return Step("Import conditions", "import", "There is nothing to judge yet: bring subjects, masks and prompts.")
    if not overview.candidate_count:
        if overview.jobs:
            return Step("See the conditions", "conditions", "The first candidates are being made.")
        return Step("Make candidates", "generators", "The conditions have no images yet.")
    if overview.judgment_count < JUDGMENTS_BEFORE_A_DATASET:
        if overview.judgments.waiting:
            return Step("Judge", "judge", f"{overview.judgments.waiting:,} judgments are wanted.")
        if not overview.judgment_count and not overview.jobs:
            return Step("Put candidates to judgment", "generators", "No comparison has been made of the candidates.")
    return None


def _before_training(overview: Overview) -> Step | None:
    snapshot = overview.snapshot
    if snapshot is None:
        if overview.judgments.waiting and overview.judgment_count < JUDGMENTS_BEFORE_A_DATASET:
            return Step("Judge", "judge", f"{overview.judgments.waiting:,} judgments are wanted.")
        return Step("Freeze a dataset", "datasets", f"{overview.judgment_count:,} judgments can become pairs.")
    if snapshot.state == SnapshotState.BUILDING:
        return Step("See the dataset", "datasets", "A dataset is being frozen.")
    if overview.run is None or overview.run.state in (RunState.FAILED, RunState.CANCELLED):
        return Step("Start a training", f"runs/new?snapshot={snapshot.id}", f"“{snapshot.name}” is ready to train on.")
    return None


def _after_training(overview: Overview) -> Step:
    run = overview.run
    if run is not None and run.state in ACTIVE_RUN_STATES:
        return Step("Watch the training", f"runs/{run.id}", f"Step {run.step:,} of {run.total_steps:,}.")
    if overview.judgments.waiting_in_arena:
        because = f"The tuned model meets its parent: {overview.judgments.waiting_in_arena:,} judgments are wanted."
        return Step("Judge the arena", "judge", because)
    if overview.run_is_judged:
        return Step("See who leads", "leaderboard", "The tuned model has been judged against its parent.")
    if run is not None and any(_fills_arena(job, run) for job in overview.jobs):
        return Step("See the generators", "generators", "Images of the tuned model and its parent are being made.")
    because = (
        "The tuned model has not been judged against its parent yet: make images of both for held-out conditions and "
        "put them to judgment in the arena."
    )
    return Step("Make candidates", "generators", because)


def _fills_arena(job: Job, run: Run) -> bool:
    """Whether a job makes or compares images of the run's generator for the arena."""
    comparisons = job.payload.get("comparisons") or {}
    is_arena = comparisons.get("kind") == ComparisonKind.ARENA
    return is_arena and run.generator_id in job.payload.get("generator_ids", ())
