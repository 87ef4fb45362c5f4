"""Pages of generators and of one condition with all its candidates."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from backend.accounts.access import CurrentPerson
from backend.catalogue import repository as catalogue
from backend.catalogue import service as catalogue_service
from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Generator, Project, Split
from backend.catalogue.schemas import GeneratorCreate
from backend.generation import repository, service
from backend.generation.demo import SEED_KIND
from backend.generation.schemas import MakeRequest
from backend.generation.words import trainer_problem
from backend.jobs.models import JobState
from backend.kit.database import Database, ReadSession
from backend.kit.errors import AppError
from backend.kit.ids import Id
from backend.kit.pages import render

router = APIRouter()
JOB_KINDS = (service.JOB_KIND, service.COMPARE_KIND, SEED_KIND)
# What a person reads where pydantic's own words would be the machine's.
FIELD_WORDS = {
    "generator_ids": "Choose at least one generator; the arena needs two.",
    "seeds": "Ask for 1 to 64 images of each condition.",
    "condition_limit": "Write a whole number above 0, or leave it empty.",
    "comparisons.k": "Show 2 to 8 images at once.",
    "comparisons.wanted": "Ask for 1 to 25 judgments.",
    "name": "Give it a name of up to 120 characters.",
    "base": "Name the pipeline it samples from.",
    "sampler.steps": "Write a whole number from 1 to 1,000.",
    "sampler.guidance": "Write a number from 0 on.",
}
FORM_FIELDS = {"generator_ids": "generator", "seeds": "seed_count"}


@router.get("/projects/{slug}/conditions/{condition_id}")
def condition_page(request: Request, project: ProjectForLead, condition_id: Id, session: ReadSession) -> HTMLResponse:
    condition = catalogue_service.get_condition(session, project, condition_id)
    candidates = catalogue.candidates_of(session, [condition.id])
    names = {generator.id: generator for generator in catalogue.generators(session, project.id)}
    groups = [
        (generator, [candidate for candidate in candidates if candidate.generator_id == key])
        for key, generator in names.items()
    ]
    before, after = catalogue.neighbours(session, project.id, condition.id)
    ids = [candidate.id for candidate in candidates]
    return render(
        request,
        "generation/condition.html",
        project=project,
        condition=condition,
        groups=[(generator, made) for generator, made in groups if made],
        verdicts=catalogue.verdicts_of(session, ids),
        judged=repository.judgments_by_candidate(session, ids),
        before=before,
        after=after,
    )


@router.get("/projects/{slug}/generators")
def generators_page(request: Request, project: ProjectForLead, session: ReadSession) -> HTMLResponse:
    return _generators_page(request, session, project)


def _generators_page(
    request: Request,
    session: ReadSession,
    project: Project,
    *,
    form_name: str = "",
    values: FormData | None = None,
    errors: dict[str, str] | None = None,
) -> HTMLResponse:
    generators = catalogue.generators(session, project.id)
    figures = catalogue.generator_figures(session, project.id)
    last = repository.last_job(session, project.id, JOB_KINDS)
    return render(
        request,
        "generation/generators.html",
        status=422 if errors else 200,
        project=project,
        generators=by_lineage(generators),
        figures={
            generator.id: {
                split.value: catalogue_service.summary_of_rationality(figures.get(generator.id, {}), split)
                for split in Split
            }
            for generator in generators
        },
        jobs=repository.active_jobs(session, project.id, JOB_KINDS),
        failed_job=last if last is not None and last.state == JobState.FAILED else None,
        # Where a grown installation samples on other machines, this one need not be able to.
        trainer_problem=trainer_problem() if request.app.state.settings.embedded else None,
        default_generator=next((row.id for row in generators if row.base), generators[0].id if generators else 0),
        default_wanted=project.settings.get("judgments_per_comparison", 1),
        form_name=form_name,
        values=values,
        errors=errors or {},
    )


def by_lineage(generators: list[Generator]) -> list[tuple[Generator, int]]:
    """Generators with their depth, every one after its parent; roots and siblings by age."""
    children: dict[int | None, list[Generator]] = {}
    known = {generator.id for generator in generators}
    for generator in generators:
        parent = generator.parent_id if generator.parent_id in known else None
        children.setdefault(parent, []).append(generator)
    ordered: list[tuple[Generator, int]] = []
    waiting = [(root, 0) for root in reversed(children.get(None, []))]
    while waiting:
        generator, depth = waiting.pop()
        ordered.append((generator, depth))
        waiting.extend((child, depth + 1) for child in reversed(children.get(generator.id, [])))
    return ordered


@router.post("/projects/{slug}/generators")
async def add_generator(request: Request, project: ProjectForLead, person: CurrentPerson) -> Response:
    form = await request.form()
    sampler = {"steps": form.get("steps"), "guidance": form.get("guidance")}
    wanted = {"name": form.get("name"), "base": form.get("base"), "sampler": sampler}

    def act(database: Database) -> None:
        with database.transaction() as session:
            catalogue_service.create_generator(session, person, project, GeneratorCreate.model_validate(wanted))

    return await _do(request, project, form, "new", act)


@router.post("/projects/{slug}/generators/make")
async def make_candidates(request: Request, project: ProjectForLead, person: CurrentPerson) -> Response:
    form = await request.form()

    def act(database: Database) -> None:
        wanted = MakeRequest.model_validate(_make_fields(form))
        with database.transaction() as session:
            service.request_candidates(session, person, project, wanted)

    return await _do(request, project, form, "make", act)


async def _do(request: Request, project: Project, form: FormData, name: str, act: Any) -> Response:
    """Acts on a form and goes back to the page, or shows it again with what is wrong beside the fields."""
    database = request.app.state.database
    try:
        await run_in_threadpool(act, database)
    except ValidationError as error:
        errors = _field_errors(error)
    except AppError as error:
        errors = {"": error.detail}
    else:
        return RedirectResponse(f"/projects/{project.slug}/generators", status_code=303)
    with database.reading() as session:
        return _generators_page(request, session, project, form_name=name, values=form, errors=errors)


def _make_fields(form: FormData) -> dict[str, Any]:
    first, count = _number(form.get("first_seed")), _number(form.get("seed_count"))
    kind = form.get("kind")
    comparisons = {"kind": kind, "k": form.get("k") or 4, "wanted": form.get("wanted") or 1} if kind else None
    if comparisons and form.get("criterion"):
        comparisons["criterion"] = form.get("criterion")
    return {
        "generator_ids": [_number(value) for value in form.getlist("generator")],
        "split": form.get("split") or None,
        "condition_limit": form.get("condition_limit") or None,
        "seeds": list(range(first, first + max(0, min(count, 1000)))),
        "comparisons": comparisons,
    }


def _number(value: Any) -> int:
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return 0


def _field_errors(error: ValidationError) -> dict[str, str]:
    """Which field of the form says what; `""` for the form as a whole."""
    found: dict[str, str] = {}
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"] if not isinstance(part, int))
        if not path:
            found[""] = item["msg"].removeprefix("Value error, ").capitalize() + "."
            continue
        field = FORM_FIELDS.get(path, path.rpartition(".")[2])
        found[field] = FIELD_WORDS.get(path, item["msg"])
    return found
