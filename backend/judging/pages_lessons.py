"""Pages of practice and test, and the images of lessons, as blind as those of real work."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from backend.accounts.access import CurrentPerson
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.judging import lessons, repository_lessons
from backend.judging.images import MAX_SHOWN, blinded_image
from backend.judging.models_lessons import LessonPurpose
from backend.judging.schemas import LessonIn, LessonsOfVerdicts
from backend.judging.screen import judge_screen
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import AppError, Invalid
from backend.kit.forms import SubmittedForm, read_form
from backend.kit.ids import Id
from backend.kit.pages import render

router = APIRouter()
NOTICES = {"made": "The lesson is made.", "retired": "The lesson is out of use.", "granted": "They may begin anew."}
OWN_JUDGMENTS = 12


@router.get("/projects/{slug}/practice")
def practice_page(request: Request, project: ProjectForMember, session: ReadSession) -> HTMLResponse:
    """The practice round, with the judge screen's own keys."""
    if repository_lessons.has_lessons(session, project.id, LessonPurpose.PRACTICE):
        return judge_screen(request, project, round="practice")
    return render(request, "judging/test.html", project=project, round="practice", standing=None, questions=0)


@router.get("/projects/{slug}/test")
def test_page(request: Request, project: ProjectForMember, person: CurrentPerson, session: ReadSession) -> HTMLResponse:
    """Where a person stands with the project's test, and the next step."""
    questions = len(repository_lessons.lesson_ids(session, project.id, LessonPurpose.QUALIFICATION))
    return render(
        request,
        "judging/test.html",
        project=project,
        round="test",
        standing=lessons.standing(session, project, person),
        questions=min(questions, lessons.MAX_TEST),
        has_practice=repository_lessons.has_lessons(session, project.id, LessonPurpose.PRACTICE),
    )


@router.get("/projects/{slug}/test/questions")
def questions_page(
    request: Request, project: ProjectForMember, person: CurrentPerson, session: WriteSession
) -> Response:
    """The questions still to be answered; without any, back to where one stands."""
    try:
        lessons.take_test(session, project, person)
    except AppError:
        return RedirectResponse(f"/projects/{project.slug}/test", status_code=303)
    return judge_screen(request, project, round="test")


# Images


@router.get("/judge/lessons/{lesson_id}/images/{shown_position}")
def lesson_image(
    lesson_id: Id,
    shown_position: Annotated[int, Path(ge=0, lt=MAX_SHOWN)],
    request: Request,
    person: CurrentPerson,
    session: ReadSession,
) -> Response:
    lesson = lessons.lesson_for(session, person, lesson_id)
    order = lessons.shown_order(lesson, person)
    if shown_position >= len(order):
        return blinded_image(request, None)
    candidate = lesson.candidate_ids[order[shown_position]]
    return blinded_image(request, repository_lessons.digests(session, [candidate])[candidate])


@router.get("/judge/lessons/{lesson_id}/subject")
def lesson_subject(lesson_id: Id, request: Request, person: CurrentPerson, session: ReadSession) -> Response:
    lesson = lessons.lesson_for(session, person, lesson_id)
    cutout, image, _ = repository_lessons.condition_digests(session, lesson.condition_id)
    return blinded_image(request, cutout or image, mode="RGBA")


@router.get("/judge/lessons/{lesson_id}/mask")
def lesson_mask(lesson_id: Id, request: Request, person: CurrentPerson, session: ReadSession) -> Response:
    lesson = lessons.lesson_for(session, person, lesson_id)
    return blinded_image(request, repository_lessons.condition_digests(session, lesson.condition_id)[2], mode="L")


# For leads


@router.get("/projects/{slug}/lessons")
def lessons_page(
    request: Request, project: ProjectForLead, person: CurrentPerson, session: ReadSession, saved: str = ""
) -> HTMLResponse:
    """The project's lessons, one's own latest judgments to make more of, and who has passed the test."""
    found = {
        purpose: repository_lessons.lessons(session, repository_lessons.lesson_ids(session, project.id, purpose))
        for purpose in LessonPurpose
    }
    own = repository_lessons.own_judgments(session, project.id, person.id, OWN_JUDGMENTS)
    candidates = [each for shown in found.values() for item in shown for each in item.lesson.candidate_ids]
    candidates += [mark.candidate_id for judgment in own for mark in judgment.marks]
    return render(
        request,
        "judging/lessons.html",
        project=project,
        lessons=found,
        own=own,
        digests=repository_lessons.digests(session, candidates),
        people=repository_lessons.attempts_of_people(session, project.id),
        notice=NOTICES.get(saved, ""),
    )


@router.post("/projects/{slug}/lessons")
def make_lesson(project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession) -> Response:
    wanted, errors = read_form(LessonIn, _fields(form, LessonIn))
    if wanted is None:
        raise Invalid("The lesson was not made. " + " ".join(f"{name}: {words}" for name, words in errors.items()))
    lessons.teach_from_judgment(session, person, project, wanted.judgment_id, wanted.purpose, wanted.explanation)
    return _back(project, "made")


@router.post("/projects/{slug}/lessons/of-verdicts")
def make_lessons_of_verdicts(
    project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> Response:
    wanted, errors = read_form(LessonsOfVerdicts, _fields(form, LessonsOfVerdicts))
    if wanted is None:
        raise Invalid("No lesson was made. " + " ".join(f"{name}: {words}" for name, words in errors.items()))
    lessons.teach_from_verdicts(session, person, project, practice=wanted.practice, test=wanted.test)
    return _back(project, "made")


@router.post("/projects/{slug}/lessons/{lesson_id}/retire")
def retire_lesson(project: ProjectForLead, lesson_id: Id, person: CurrentPerson, session: WriteSession) -> Response:
    lessons.retire_lesson(session, person, project, lesson_id)
    return _back(project, "retired")


@router.post("/projects/{slug}/lessons/people/{person_id}/grant")
def grant_attempts(project: ProjectForLead, person_id: Id, person: CurrentPerson, session: WriteSession) -> Response:
    lessons.grant_attempts(session, person, project, person_id)
    return _back(project, "granted")


def _fields(form: SubmittedForm, model: type[LessonIn] | type[LessonsOfVerdicts]) -> dict[str, object]:
    return {name: value for name, value in form.items() if name in model.model_fields}


def _back(project: ProjectForLead, saved: str) -> RedirectResponse:
    return RedirectResponse(f"/projects/{project.slug}/lessons?saved={saved}", status_code=303)
