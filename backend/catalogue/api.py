"""REST of the catalogue: projects, members, subjects, conditions, generators, candidates, verdicts."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, UploadFile

from backend.accounts.access import CurrentPerson, LeadPerson, require_scope
from backend.catalogue import repository, service
from backend.catalogue.access import ProjectForLead, ProjectForMember
from backend.catalogue.api_imports import router as imports_router
from backend.catalogue.models import Candidate, Split
from backend.catalogue.schemas import (
    CandidateOut,
    ConditionOut,
    GeneratorChange,
    GeneratorCreate,
    GeneratorOut,
    MemberOut,
    ProjectChange,
    ProjectCounts,
    ProjectCreate,
    ProjectOut,
    SubjectOut,
    VerdictOut,
)
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import Invalid
from backend.kit.idempotency import IdempotencyKey, idempotent
from backend.kit.ids import Id
from backend.kit.paging import Page, Paging

router = APIRouter(tags=["catalogue"])
router.include_router(imports_router)


@router.get("/projects")
def list_projects(person: CurrentPerson, session: ReadSession, page: Paging) -> Page[ProjectOut]:
    """The projects one may work in, newest first."""
    rows, cursor = repository.projects_page(session, person, page)
    return Page(items=[ProjectOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.post("/projects", status_code=201, response_model=ProjectOut)
def create_project(
    wanted: ProjectCreate, person: LeadPerson, session: WriteSession, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    def act() -> ProjectOut:
        return ProjectOut.model_validate(service.create_project(session, person, wanted))

    return idempotent(session, f"projects:{person.id}", idempotency_key, wanted, act)


@router.get("/projects/{slug}")
def read_project(project: ProjectForMember) -> ProjectOut:
    return ProjectOut.model_validate(project)


@router.patch("/projects/{slug}")
def change_project(
    change: ProjectChange, project: ProjectForLead, person: CurrentPerson, session: WriteSession
) -> ProjectOut:
    """Changes the name, guidelines, criteria or single settings."""
    return ProjectOut.model_validate(service.change_project(session, person, project.id, change))


@router.get("/projects/{slug}/counts")
def project_counts(project: ProjectForLead, session: ReadSession) -> ProjectCounts:
    return ProjectCounts.model_validate(repository.counts(session, project.id))


@router.get("/projects/{slug}/members")
def list_members(project: ProjectForLead, session: ReadSession) -> list[MemberOut]:
    return [MemberOut.model_validate(member) for member in repository.members(session, project.id)]


@router.put("/projects/{slug}/members/{person_id}")
def add_member(project: ProjectForLead, person_id: Id, actor: CurrentPerson, session: WriteSession) -> MemberOut:
    """Lets a person work in the project; doing it twice changes nothing."""
    return MemberOut.model_validate(service.add_member(session, actor, project, person_id))


@router.delete("/projects/{slug}/members/{person_id}", status_code=204)
def remove_member(project: ProjectForLead, person_id: Id, actor: CurrentPerson, session: WriteSession) -> Response:
    """Takes a person out of the project; what they judged stays."""
    service.remove_member(session, actor, project, person_id)
    return Response(status_code=204)


@router.post("/projects/{slug}/guidelines/images", status_code=201)
def add_guideline_image(
    project: ProjectForLead, request: Request, session: WriteSession, file: UploadFile
) -> dict[str, str]:
    """Stores an image for the guidelines; the answer holds the Markdown that shows it."""
    limit = request.app.state.settings.max_upload_mb << 20
    data = file.file.read(limit + 1)
    if len(data) > limit:
        raise Invalid(f"The image is larger than {limit >> 20} MB: make it smaller.")
    digest = service.add_guideline_image(session, request.app.state.blobs, project.id, data)
    url = f"/projects/{project.slug}/guidelines/images/{digest}"
    return {"digest": digest, "url": url, "markdown": f"![]({url})"}


@router.get("/projects/{slug}/subjects")
def list_subjects(project: ProjectForLead, session: ReadSession, page: Paging) -> Page[SubjectOut]:
    rows, cursor = repository.subjects_page(session, project.id, page)
    return Page(items=[SubjectOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/projects/{slug}/conditions")
def list_conditions(
    project: ProjectForLead,
    session: ReadSession,
    page: Paging,
    split: Split | None = None,
    q: Annotated[str, Query(max_length=200, description="Words of the prompt.")] = "",
) -> Page[ConditionOut]:
    rows, cursor = repository.conditions_page(session, project.id, page, split=split, search=q)
    return Page(items=[ConditionOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/projects/{slug}/conditions/{condition_id}")
def read_condition(project: ProjectForLead, condition_id: Id, session: ReadSession) -> ConditionOut:
    return ConditionOut.model_validate(service.get_condition(session, project, condition_id))


@router.get("/projects/{slug}/generators")
def list_generators(project: ProjectForLead, session: ReadSession, page: Paging) -> Page[GeneratorOut]:
    rows, cursor = repository.generators_page(session, project.id, page)
    return Page(items=[GeneratorOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.post(
    "/projects/{slug}/generators",
    status_code=201,
    response_model=GeneratorOut,
    dependencies=[require_scope("generate")],
)
def create_generator(
    wanted: GeneratorCreate,
    project: ProjectForLead,
    person: CurrentPerson,
    session: WriteSession,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    def act() -> GeneratorOut:
        return GeneratorOut.model_validate(service.create_generator(session, person, project, wanted))

    return idempotent(session, f"generators:{project.id}", idempotency_key, wanted, act)


@router.get("/projects/{slug}/generators/{generator_id}")
def read_generator(project: ProjectForLead, generator_id: Id, session: ReadSession) -> GeneratorOut:
    return GeneratorOut.model_validate(service.get_generator(session, project, generator_id))


@router.patch("/projects/{slug}/generators/{generator_id}", dependencies=[require_scope("generate")])
def change_generator(
    change: GeneratorChange, project: ProjectForLead, generator_id: Id, person: CurrentPerson, session: WriteSession
) -> GeneratorOut:
    """Changes a generator that has not produced yet; afterwards it is refused."""
    return GeneratorOut.model_validate(service.change_generator(session, person, project, generator_id, change))


@router.get("/projects/{slug}/candidates")
def list_candidates(
    project: ProjectForLead,
    session: ReadSession,
    page: Paging,
    condition_id: Annotated[int | None, Query()] = None,
    generator_id: Annotated[int | None, Query()] = None,
) -> Page[CandidateOut]:
    """Candidates with the verdicts of exact judges, newest first."""
    rows, cursor = repository.candidates_page(
        session, project.id, page, condition_id=condition_id, generator_id=generator_id
    )
    verdicts = repository.verdicts_of(session, [row.id for row in rows])
    return Page(items=[_candidate_out(row, verdicts.get(row.id, [])) for row in rows], next_cursor=cursor)


def _candidate_out(row: Candidate, verdicts: list[Any]) -> CandidateOut:
    fields = {name: getattr(row, name) for name in CandidateOut.model_fields if name != "verdicts"}
    return CandidateOut(**fields, verdicts=[VerdictOut.model_validate(verdict) for verdict in verdicts])
