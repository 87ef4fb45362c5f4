"""The home page and a project's overview."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import HTMLResponse

from backend.accounts.access import CurrentPerson
from backend.accounts.models import Role
from backend.catalogue.access import ProjectForMember
from backend.judging.lessons import must_qualify
from backend.judging.models_lessons import LessonPurpose
from backend.judging.repository_lessons import has_lessons
from backend.judging.service import agreement, progress
from backend.kit.database import ReadSession
from backend.kit.pages import render
from backend.overview import repository
from backend.overview.service import next_step, read_overview, wanted

router = APIRouter()


@router.get("/")
def home(request: Request, person: CurrentPerson, session: ReadSession) -> HTMLResponse:
    everything = person.role == Role.ADMIN
    return render(
        request,
        "overview/home.html",
        projects=[
            (project, wanted(session, project.id))
            for project in repository.projects_of(session, None if everything else person.id)
        ],
        mine=repository.answers_by(session, person.id),
    )


@router.get("/projects/{slug}")
def project_overview(
    request: Request,
    project: ProjectForMember,
    person: CurrentPerson,
    session: ReadSession,
    x_fragment: Annotated[str | None, Header()] = None,
) -> HTMLResponse:
    """The five stations; with the header `X-Fragment: loop`, only the part that changes while jobs run."""
    if person.role == Role.ANNOTATOR:
        mine = repository.answers_by(session, person.id).get(project.id, 0)
        waiting = wanted(session, project.id)
        return render(
            request,
            "overview/for_annotator.html",
            project=project,
            mine=mine,
            waiting=waiting,
            pace=progress(session, project, person).seconds_each,
            agreement=agreement(session, project, person),
            test_first=must_qualify(session, project, person),
            has_practice=has_lessons(session, project.id, LessonPurpose.PRACTICE),
        )
    overview = read_overview(session, project)
    template = "overview/_loop.html" if x_fragment == "loop" else "overview/project.html"
    return render(request, template, project=project, overview=overview, step=next_step(overview))
