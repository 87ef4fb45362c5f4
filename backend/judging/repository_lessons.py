"""SQL of lessons and of the qualifications taken on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import case, delete, exists, func, select
from sqlalchemy.orm import Session, selectinload

from backend.accounts.models import Person
from backend.catalogue.models import Candidate, Condition, ProjectMember, Subject, Verdict
from backend.judging.models import Comparison, ComparisonCandidate, Judgment, Outcome
from backend.judging.models_lessons import Lesson, LessonPurpose, Qualification, QualificationAnswer, QualificationState
from backend.judging.repository import upsert


class ShownLesson(NamedTuple):
    """A lesson with what who takes it may see."""

    lesson: Lesson
    prompt: str
    subject_name: str
    width: int
    height: int


def has_lessons(session: Session, project_id: int, purpose: LessonPurpose) -> bool:
    some = exists().where(Lesson.project_id == project_id, Lesson.purpose == purpose, Lesson.is_retired.is_(False))
    return bool(session.scalar(select(some)))


def lesson_ids(session: Session, project_id: int, purpose: LessonPurpose) -> list[int]:
    """Those in use, oldest first."""
    query = select(Lesson.id).where(
        Lesson.project_id == project_id, Lesson.purpose == purpose, Lesson.is_retired.is_(False)
    )
    return list(session.scalars(query.order_by(Lesson.id)))


def lessons(session: Session, ids: Sequence[int]) -> list[ShownLesson]:
    """The lessons in the order of `ids`."""
    query = (
        select(Lesson, Condition.prompt, Subject.name, Condition.width, Condition.height)
        .join(Condition, Condition.id == Lesson.condition_id)
        .join(Subject, Subject.id == Condition.subject_id)
        .where(Lesson.id.in_(ids))
    )
    found = {row[0].id: ShownLesson(*row) for row in session.execute(query)}
    return [found[each] for each in ids if each in found]


def lesson_of_project(session: Session, project_id: int, lesson_id: int) -> Lesson | None:
    return session.scalar(select(Lesson).where(Lesson.id == lesson_id, Lesson.project_id == project_id))


def lesson_for(session: Session, lesson_id: int, person_id: int, *, everywhere: bool) -> Lesson | None:
    """A lesson of a project that the person works in (`everywhere`: of any)."""
    query = select(Lesson).where(Lesson.id == lesson_id)
    if not everywhere:
        member = exists().where(ProjectMember.project_id == Lesson.project_id, ProjectMember.person_id == person_id)
        query = query.where(member)
    return session.scalar(query)


def store_lesson(session: Session, values: dict[str, Any]) -> int:
    """Stores a lesson, or brings the one on these candidates under this criterion up to date; its id."""
    new = upsert(session, Lesson).values(**values)
    changing = {name: new.excluded[name] for name in ("purpose", "kind", "expected", "explanation", "is_retired")}
    # The answers expected stand in the order of the candidates that they came with.
    changing["candidate_ids"] = new.excluded["candidate_ids"]
    key = ["project_id", "criterion", "candidates_hash"]
    return session.execute(
        new.on_conflict_do_update(index_elements=key, set_=changing).returning(Lesson.id)
    ).scalar_one()


def digests(session: Session, candidate_ids: Sequence[int]) -> dict[int, str]:
    """{candidate id: digest of its image}."""
    query = select(Candidate.id, Candidate.image_digest).where(Candidate.id.in_(candidate_ids))
    return {row.id: row.image_digest for row in session.execute(query)}


def condition_digests(session: Session, condition_id: int) -> tuple[str | None, str, str]:
    """(cut-out or None, condition image, mask)."""
    query = (
        select(Subject.cutout_digest, Condition.image_digest, Condition.mask_digest)
        .join(Condition, Condition.subject_id == Subject.id)
        .where(Condition.id == condition_id)
    )
    row = session.execute(query).one()
    return row[0], row[1], row[2]


# Qualifications


def qualifications(session: Session, project_id: int, person_id: int) -> list[Qualification]:
    """A person's attempts, newest first."""
    query = select(Qualification).where(Qualification.project_id == project_id, Qualification.person_id == person_id)
    return list(session.scalars(query.order_by(Qualification.number.desc()).execution_options(populate_existing=True)))


def has_passed(session: Session, project_id: int, person_id: int) -> bool:
    passed = exists().where(
        Qualification.project_id == project_id,
        Qualification.person_id == person_id,
        Qualification.state == QualificationState.PASSED,
    )
    return bool(session.scalar(select(passed)))


def open_qualification(session: Session, values: dict[str, Any]) -> None:
    """Begins an attempt; where another request was faster by a hair, that one's stands."""
    session.execute(upsert(session, Qualification).values(**values).on_conflict_do_nothing())


def lock_open(session: Session, project_id: int, person_id: int) -> Qualification | None:
    """The person's attempt under way, locked until the transaction ends."""
    query = (
        select(Qualification)
        .where(
            Qualification.project_id == project_id,
            Qualification.person_id == person_id,
            Qualification.state == QualificationState.OPEN,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return session.scalar(query)


def answered(session: Session, qualification_id: int) -> dict[int, bool]:
    """{lesson id: whether it was right} of an attempt."""
    query = select(QualificationAnswer.lesson_id, QualificationAnswer.is_correct).where(
        QualificationAnswer.qualification_id == qualification_id
    )
    return {row.lesson_id: row.is_correct for row in session.execute(query)}


def attempts_of_people(session: Session, project_id: int) -> list[tuple[Person, int, bool]]:
    """(person, attempts, whether passed) of everybody who has taken the project's test."""
    passed = func.max(case((Qualification.state == QualificationState.PASSED, 1), else_=0))
    query = (
        select(Person, func.count(Qualification.id), passed)
        .join(Qualification, Qualification.person_id == Person.id)
        .where(Qualification.project_id == project_id)
        .group_by(Person.id)
        .order_by(Person.id)
    )
    return [(person, attempts, bool(has)) for person, attempts, has in session.execute(query)]


def forget_attempts(session: Session, project_id: int, person_id: int) -> int:
    """Removes the attempts that a person has not passed; how many there were."""
    statement = (
        delete(Qualification)
        .where(
            Qualification.project_id == project_id,
            Qualification.person_id == person_id,
            Qualification.state != QualificationState.PASSED,
        )
        .returning(Qualification.id)
    )
    return len(session.scalars(statement).all())


def own_judgments(session: Session, project_id: int, person_id: int, limit: int) -> list[Judgment]:
    """The person's latest judgments that say something, with their marks."""
    query = (
        select(Judgment)
        .where(Judgment.project_id == project_id, Judgment.person_id == person_id, Judgment.outcome != Outcome.SKIP)
        .options(selectinload(Judgment.marks))
        .order_by(Judgment.id.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def candidates_judged(judgment: Judgment) -> list[int]:
    """The candidates of a judgment (its marks loaded) in the order shown."""
    return [mark.candidate_id for mark in sorted(judgment.marks, key=lambda mark: mark.shown_position)]


def entries(session: Session, comparison_id: int) -> dict[int, int]:
    """{position: candidate id} of a comparison, in order."""
    query = select(ComparisonCandidate.position, ComparisonCandidate.candidate_id)
    query = query.where(ComparisonCandidate.comparison_id == comparison_id).order_by(ComparisonCandidate.position)
    return {row.position: row.candidate_id for row in session.execute(query)}


def comparisons_with_verdicts(session: Session, project_id: int, limit: int) -> list[int]:
    """Comparisons of the project all of whose candidates an exact judge has a verdict on, newest first."""
    judged = exists().where(Verdict.candidate_id == ComparisonCandidate.candidate_id, Verdict.rational.is_not(None))
    lacking = exists().where(ComparisonCandidate.comparison_id == Comparison.id, ~judged)
    taken = exists().where(
        Lesson.project_id == Comparison.project_id,
        Lesson.criterion == Comparison.criterion,
        Lesson.candidates_hash == Comparison.candidates_hash,
    )
    query = select(Comparison.id).where(Comparison.project_id == project_id, ~lacking, ~taken)
    return list(session.scalars(query.order_by(Comparison.id.desc()).limit(limit)))
