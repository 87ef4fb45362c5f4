"""Counts that the overview draws: one statement a station, none that grows with what other projects hold.

What a project has many of is not counted while a reader waits: `has_many` and the bound of `open_slots` tell.
"""

from typing import NamedTuple

from sqlalchemy import Integer, case, cast, exists, func, select, text
from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Candidate, Condition, Generator, Project, ProjectMember, Split, Subject, Verdict
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs.models import ACTIVE_JOB_STATES, Job, JobState
from backend.judging.models import Comparison, ComparisonCandidate, ComparisonKind
from backend.judging.models_serving import Standing
from backend.training.models import Run

# Open comparisons, and candidates, of a project beyond which they are counted once in a while.
MANY_OPEN = 5_000
MANY_CANDIDATES = 5_000


# Literal, so that the partial index of what can be served matches however the statement is prepared.
_OPEN = (text("comparisons.open_slots > 0"), text("comparisons.state = 'open'"))


class Waiting(NamedTuple):
    """Slots of open comparisons, in all and in the arena."""

    slots: int
    in_arena: int


def conditions_by_split(session: Session, project_id: int) -> dict[Split, int]:
    query = select(Condition.split, func.count()).where(Condition.project_id == project_id).group_by(Condition.split)
    return {Split(split): count for split, count in session.execute(query)}


def subject_count(session: Session, project_id: int) -> int:
    return session.scalar(select(func.count()).where(Subject.project_id == project_id)) or 0


def candidates_by_generator(session: Session, project_id: int) -> dict[int, int]:
    """Generator id to how many candidates it has made."""
    query = (
        select(Candidate.generator_id, func.count())
        .where(Candidate.project_id == project_id)
        .group_by(Candidate.generator_id)
    )
    return dict(session.execute(query).all())


def generators(session: Session, project_id: int) -> list[Generator]:
    """Oldest first."""
    return list(session.scalars(select(Generator).where(Generator.project_id == project_id).order_by(Generator.id)))


def answers_given(session: Session, project_id: int) -> tuple[int, int]:
    """Answers of people and of simulated annotators, by the counters that change with each answer."""
    given = func.sum(Standing.done + Standing.skipped)
    query = select(Person.is_simulated, given).join(Person, Person.id == Standing.person_id)
    query = query.where(Standing.project_id == project_id).group_by(Person.is_simulated)
    found = {simulated: int(count) for simulated, count in session.execute(query)}
    return found.get(False, 0), found.get(True, 0)


def has_many(session: Session, project_id: int) -> bool:
    """Whether the project has so many candidates that counting them would keep a reader waiting."""
    query = select(Candidate.id).where(Candidate.project_id == project_id)
    return session.scalar(query.order_by(Candidate.id).offset(MANY_CANDIDATES).limit(1)) is not None


def newest_candidate(session: Session, project_id: int) -> int:
    return session.scalar(select(func.max(Candidate.id)).where(Candidate.project_id == project_id)) or 0


def open_slots(session: Session, project_id: int, most: int | None = None) -> tuple[Waiting, int]:
    """What waits, and in how many comparisons; with `most`, of so many of them at most."""
    some = select(Comparison.open_slots, (Comparison.kind == ComparisonKind.ARENA).label("arena"))
    some = some.where(Comparison.project_id == project_id, *_OPEN).limit(most).subquery()
    slots = func.coalesce(func.sum(some.c.open_slots), 0)
    arena = func.coalesce(func.sum(case((some.c.arena, some.c.open_slots), else_=0)), 0)
    total, in_arena, comparisons = session.execute(select(slots, arena, func.count()).select_from(some)).one()
    return Waiting(int(total), int(in_arena)), comparisons


def is_judged_in_arena(session: Session, generator_id: int) -> bool:
    """Whether anybody has judged what this generator made beside what another one made."""
    query = (
        select(Comparison.id)
        .join(ComparisonCandidate, ComparisonCandidate.comparison_id == Comparison.id)
        .join(Candidate, Candidate.id == ComparisonCandidate.candidate_id)
        .where(
            Candidate.generator_id == generator_id,
            Comparison.kind == ComparisonKind.ARENA,
            Comparison.judgments > 0,
        )
    )
    return bool(session.scalar(select(exists(query))))


def latest_snapshot(session: Session, project_id: int) -> Snapshot | None:
    query = select(Snapshot).where(Snapshot.project_id == project_id, Snapshot.state != SnapshotState.FAILED)
    return session.scalar(query.order_by(Snapshot.id.desc()).limit(1))


def latest_run(session: Session, project_id: int) -> Run | None:
    return session.scalar(select(Run).where(Run.project_id == project_id).order_by(Run.id.desc()).limit(1))


def run_count(session: Session, project_id: int) -> int:
    return session.scalar(select(func.count()).where(Run.project_id == project_id)) or 0


def jobs_at_work(session: Session, project_id: int) -> list[Job]:
    query = select(Job).where(Job.project_id == project_id, Job.state.in_(ACTIVE_JOB_STATES))
    return list(session.scalars(query.order_by(Job.id)))


def last_failed_job(session: Session, project_id: int) -> Job | None:
    """The newest job of the project, where that one failed."""
    query = select(Job).where(Job.project_id == project_id).order_by(Job.id.desc()).limit(1)
    newest = session.scalar(query)
    return newest if newest is not None and newest.state == JobState.FAILED else None


def rationality(session: Session, project_id: int, split: Split) -> dict[int, tuple[int, int]]:
    """For each generator: how many of its candidates on `split` an exact judge calls rational, out of how many."""
    rational = func.sum(func.coalesce(cast(Verdict.rational, Integer), 0))
    query = (
        select(Candidate.generator_id, rational, func.count())
        .join(Verdict, Verdict.candidate_id == Candidate.id)
        .join(Condition, Condition.id == Candidate.condition_id)
        .where(Candidate.project_id == project_id, Condition.split == split)
        .group_by(Candidate.generator_id)
    )
    return {generator: (int(yes), total) for generator, yes, total in session.execute(query)}


def projects_of(session: Session, person_id: int | None) -> list[Project]:
    """Those `person_id` is a member of, or all for None."""
    query = select(Project).order_by(Project.id)
    if person_id is not None:
        mine = select(ProjectMember.project_id).where(ProjectMember.person_id == person_id)
        query = query.where(Project.id.in_(mine))
    return list(session.scalars(query))


def answers_by(session: Session, person_id: int) -> dict[int, int]:
    """How many answers `person_id` has given, by project."""
    query = select(Standing.project_id, Standing.done + Standing.skipped).where(Standing.person_id == person_id)
    return dict(session.execute(query).all())
