"""Counts that the overview draws: one statement a station, none that grows with what other projects hold."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, cast, func, select
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Condition, Generator, Project, ProjectMember, Split, Subject, Verdict
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs.models import ACTIVE_JOB_STATES, Job, JobState
from backend.judging.models import Comparison, ComparisonKind, ComparisonState, Judgment
from backend.training.models import Run


@dataclass(frozen=True)
class JudgmentCounts:
    """Judgments given so far, and how many slots of open comparisons still wait, in all and in the arena."""

    by_people: int
    simulated: int
    waiting: int
    waiting_in_arena: int


def conditions_by_split(session: Session, project_id: int) -> dict[Split, int]:
    query = select(Condition.split, func.count()).where(Condition.project_id == project_id).group_by(Condition.split)
    return {Split(split): count for split, count in session.execute(query)}


def subject_count(session: Session, project_id: int) -> int:
    return session.scalar(select(func.count()).where(Subject.project_id == project_id)) or 0


def candidates_by_generator(session: Session, project_id: int) -> list[tuple[Generator, int]]:
    """Generators with how many candidates each has made, oldest first."""
    made = (
        select(Candidate.generator_id, func.count().label("made"))
        .where(Candidate.project_id == project_id)
        .group_by(Candidate.generator_id)
        .subquery()
    )
    query = (
        select(Generator, func.coalesce(made.c.made, 0))
        .outerjoin(made, made.c.generator_id == Generator.id)
        .where(Generator.project_id == project_id)
        .order_by(Generator.id)
    )
    return [(generator, made) for generator, made in session.execute(query)]


def judgment_counts(session: Session, project_id: int) -> JudgmentCounts:
    given = dict(
        session.execute(
            select(Judgment.is_simulated, func.count())
            .where(Judgment.project_id == project_id)
            .group_by(Judgment.is_simulated)
        ).all()
    )
    in_arena: ColumnElement[bool] = Comparison.kind == ComparisonKind.ARENA
    open_slots = func.coalesce(func.sum(Comparison.open_slots), 0)
    waiting = dict(
        session.execute(
            select(in_arena, open_slots)
            .where(
                Comparison.project_id == project_id,
                Comparison.state == ComparisonState.OPEN,
                Comparison.open_slots > 0,
            )
            .group_by(in_arena)
        ).all()
    )
    arena = int(waiting.get(True, 0))
    return JudgmentCounts(
        by_people=given.get(False, 0),
        simulated=given.get(True, 0),
        waiting=int(waiting.get(False, 0)) + arena,
        waiting_in_arena=arena,
    )


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


def rationality(session: Session, generator_ids: list[int], split: Split) -> dict[int, tuple[int, int]]:
    """For each generator, how many of its candidates on `split` an exact judge calls rational, out of how many."""
    rational = func.sum(func.coalesce(cast(Verdict.rational, Integer), 0))
    query = (
        select(Candidate.generator_id, rational, func.count())
        .join(Verdict, Verdict.candidate_id == Candidate.id)
        .join(Condition, Condition.id == Candidate.condition_id)
        .where(Candidate.generator_id.in_(generator_ids), Condition.split == split)
        .group_by(Candidate.generator_id)
    )
    return {generator: (int(yes), total) for generator, yes, total in session.execute(query)}


def projects_of(session: Session, person_id: int | None) -> list[tuple[Project, int]]:
    """Projects with the open slots of their comparisons: those `person_id` is a member of, or all for None."""
    waiting = (
        select(func.coalesce(func.sum(Comparison.open_slots), 0))
        .where(Comparison.project_id == Project.id, Comparison.state == ComparisonState.OPEN)
        .correlate(Project)
        .scalar_subquery()
    )
    query = select(Project, waiting).order_by(Project.id)
    if person_id is not None:
        mine = select(ProjectMember.project_id).where(ProjectMember.person_id == person_id)
        query = query.where(Project.id.in_(mine))
    return [(project, int(slots)) for project, slots in session.execute(query)]


def judgments_by(session: Session, person_id: int) -> dict[int, int]:
    """How many judgments `person_id` has given, by project."""
    query = (
        select(Judgment.project_id, func.count()).where(Judgment.person_id == person_id).group_by(Judgment.project_id)
    )
    return dict(session.execute(query).all())
