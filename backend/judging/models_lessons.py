"""What teaches and tests annotators: lessons with a known answer, and qualifications taken on them.

Lessons are no comparisons: nothing said of them is ever a vote or a pair.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.catalogue.models import Condition, Criterion
from backend.judging.models import ComparisonKind
from backend.kit.columns import check, enum_column, reference
from backend.kit.database import Base, Identified, Timestamped


class LessonPurpose(StrEnum):
    PRACTICE = "practice"
    QUALIFICATION = "qualification"


class QualificationState(StrEnum):
    OPEN = "open"
    PASSED = "passed"
    FAILED = "failed"


class Lesson(Base, Identified, Timestamped):
    """Candidates of one condition with the answer expected of them and why it is the right one.

    `expected` is an answer as REST speaks it, with its marks in the order of `candidate_ids`. One that is retired stays
    for the answers given to it.
    """

    __tablename__ = "lessons"
    project_id: Mapped[int] = reference("projects.id", index=False)
    purpose: Mapped[LessonPurpose] = enum_column(LessonPurpose)
    kind: Mapped[ComparisonKind] = enum_column(ComparisonKind)
    criterion: Mapped[Criterion] = enum_column(Criterion)
    condition_id: Mapped[int] = reference("conditions.id")
    condition: Mapped[Condition] = relationship(lazy="raise")
    candidate_ids: Mapped[list[Any]]
    candidates_hash: Mapped[str] = mapped_column(String(64))
    expected: Mapped[dict[str, Any]]
    explanation: Mapped[str] = mapped_column(Text, default="")
    is_retired: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (UniqueConstraint("project_id", "criterion", "candidates_hash"),)


_OPEN = text("state = 'open'")


class Qualification(Base, Identified, Timestamped):
    """One attempt of a person at a project's test; `lesson_ids` are its questions in the order asked."""

    __tablename__ = "qualifications"
    project_id: Mapped[int] = reference("projects.id", index=False)
    person_id: Mapped[int] = reference("people.id")
    number: Mapped[int]
    state: Mapped[QualificationState] = enum_column(QualificationState, default=QualificationState.OPEN)
    lesson_ids: Mapped[list[Any]]
    correct: Mapped[int] = mapped_column(default=0)
    pass_mark: Mapped[int]
    """In percent, as it stood when the attempt began."""
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("project_id", "person_id", "number"),
        Index(
            "uq_qualifications_open", "project_id", "person_id", unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN
        ),
        check("pass_mark_is_percent", "pass_mark BETWEEN 1 AND 100"),
    )


class QualificationAnswer(Base, Timestamped):
    """What was answered to one question of an attempt: once, and never changed."""

    __tablename__ = "qualification_answers"
    qualification_id: Mapped[int] = reference("qualifications.id", ondelete="CASCADE", index=False, primary_key=True)
    lesson_id: Mapped[int] = reference("lessons.id", primary_key=True)
    answer: Mapped[dict[str, Any]]
    is_correct: Mapped[bool]
