"""REST of lessons: the practice round, the test, and what leads do with both."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from backend.accounts.access import CurrentPerson, require_scope
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.judging import lessons, repository_lessons
from backend.judging.models_lessons import Qualification, QualificationState
from backend.judging.repository_lessons import ShownLesson
from backend.judging.schemas import (
    AnswerIn,
    LessonFeedback,
    LessonIn,
    LessonOut,
    LessonsOfVerdicts,
    QualificationOut,
)
from backend.kit.database import ReadSession, WriteSession
from backend.kit.ids import Id

router = APIRouter(tags=["judging"])
JUDGE = [require_scope("judge")]


def lesson_out(shown: ShownLesson) -> LessonOut:
    lesson = shown.lesson
    base = f"/judge/lessons/{lesson.id}"
    return LessonOut(
        id=lesson.id,
        kind=lesson.kind,
        criterion=lesson.criterion,
        prompt=shown.prompt,
        subject_name=shown.subject_name,
        width=shown.width,
        height=shown.height,
        images=[f"{base}/images/{place}" for place in range(len(lesson.candidate_ids))],
        subject=f"{base}/subject",
        mask=f"{base}/mask",
    )


def _qualification_out(session: Session, found: Qualification, items: list[ShownLesson]) -> QualificationOut:
    has_ended = found.state != QualificationState.OPEN
    return QualificationOut(
        state=found.state,
        number=found.number,
        total=len(found.lesson_ids),
        answered=len(repository_lessons.answered(session, found.id)),
        pass_mark=found.pass_mark,
        correct=found.correct if has_ended else None,
        items=[lesson_out(item) for item in items],
    )


@router.get("/projects/{slug}/practice")
def practice(project: ProjectForMember, session: ReadSession) -> list[LessonOut]:
    """The lessons of the practice round."""
    return [lesson_out(shown) for shown in lessons.practice(session, project)]


@router.post("/projects/{slug}/practice/{lesson_id}", dependencies=JUDGE)
def practise(
    project: ProjectForMember, lesson_id: Id, body: AnswerIn, person: CurrentPerson, session: ReadSession
) -> LessonFeedback:
    """What is expected where this was answered; nothing is stored."""
    lesson = lessons.practice_lesson(session, project, lesson_id)
    right, _, expected = lessons.grade(person, lesson, body)
    return LessonFeedback(is_right=right, expected=expected.as_out(), explanation=lesson.explanation)


@router.post("/projects/{slug}/qualification", dependencies=JUDGE)
def take_test(project: ProjectForMember, person: CurrentPerson, session: WriteSession) -> QualificationOut:
    """Begins the caller's attempt at the test, or goes on with the one under way."""
    found, items = lessons.take_test(session, project, person)
    return _qualification_out(session, found, items)


@router.post("/projects/{slug}/qualification/{lesson_id}", dependencies=JUDGE)
def answer_question(
    project: ProjectForMember, lesson_id: Id, body: AnswerIn, person: CurrentPerson, session: WriteSession
) -> QualificationOut:
    """Answers one question, once: sent again, the first answer stands."""
    return _qualification_out(session, lessons.answer_question(session, project, person, lesson_id, body), [])


@router.post("/projects/{slug}/lessons", status_code=201)
def make_lesson(
    project: ProjectForLead, body: LessonIn, person: CurrentPerson, session: WriteSession
) -> dict[str, int]:
    """Makes a lesson of one's own judgment."""
    made = lessons.teach_from_judgment(session, person, project, body.judgment_id, body.purpose, body.explanation)
    return {"id": made}


@router.post("/projects/{slug}/lessons/of-verdicts", status_code=201)
def make_lessons_of_verdicts(
    project: ProjectForLead, body: LessonsOfVerdicts, person: CurrentPerson, session: WriteSession
) -> dict[str, int]:
    """Makes lessons of comparisons that an exact judge is sure of."""
    practice, test = lessons.teach_from_verdicts(session, person, project, practice=body.practice, test=body.test)
    return {"practice": practice, "test": test}


@router.delete("/projects/{slug}/lessons/{lesson_id}", status_code=204)
def retire_lesson(project: ProjectForLead, lesson_id: Id, person: CurrentPerson, session: WriteSession) -> None:
    """Takes a lesson out of use."""
    lessons.retire_lesson(session, person, project, lesson_id)
