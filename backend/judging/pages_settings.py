"""Pages on which leads say how judging goes in a project: its settings and its guidelines."""

from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic.fields import FieldInfo

from backend.accounts.access import CurrentPerson
from backend.catalogue import service as catalogue
from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Criterion, Project
from backend.catalogue.schemas import ProjectChange, ProjectSettings
from backend.judging.guidelines import render_guidelines
from backend.judging.leases import judging_settings
from backend.kit.database import WriteSession
from backend.kit.errors import Invalid
from backend.kit.forms import SubmittedForm, field_errors, read_form
from backend.kit.languages import words
from backend.kit.pages import render, speak_to

router = APIRouter()
# Which settings stand together on the page; what none of them names comes last, under the name of serving.
GROUPS = {
    "Answers": (
        "reasons", "send_when_complete", "allow_incomplete", "best_worst", "ask_strength", "mark_regions",
        "reveal_after_vote",
    ),
    "People": (
        "qualification_required", "qualification_pass_mark", "qualification_attempts", "break_minutes",
        "show_agreement",
    ),
}  # fmt: skip
SERVING = "Serving"
NOTICES = {"settings": "The settings are saved. They hold from the next answer on.", "guidelines": "Saved."}


@dataclass(frozen=True)
class SettingField:
    """How one setting is asked for: `kind` is checkbox, select, number or text; bounds are of numbers."""

    name: str
    group: str
    kind: str
    words: str
    choices: tuple[tuple[str, str], ...] = ()
    least: float | None = None
    most: float | None = None
    step: str = "1"
    required: bool = True


def _field(name: str, info: FieldInfo) -> SettingField | None:
    group = next((group for group, names in GROUPS.items() if name in names), SERVING)
    words = info.description or ""
    kinds = [kind for kind in get_args(info.annotation) or (info.annotation,) if kind is not NoneType]
    if info.annotation is bool:
        return SettingField(name, group, "checkbox", words)
    if get_origin(info.annotation) is Literal:
        return SettingField(
            name, group, "select", words, choices=tuple((each, each.capitalize()) for each in get_args(info.annotation))
        )
    if kinds[0] in (int, float):
        least = next((each.ge for each in info.metadata if isinstance(each, Ge)), None)
        most = next((each.le for each in info.metadata if isinstance(each, Le)), None)
        step = "1" if kinds[0] is int else "any"
        required = info.annotation in (int, float)
        return SettingField(name, group, "number", words, least=least, most=most, step=step, required=required)
    return SettingField(name, group, "text", words) if info.annotation is str else None


FIELDS = [field for name, info in ProjectSettings.model_fields.items() if (field := _field(name, info))]


@router.get("/projects/{slug}/settings")
def settings_page(request: Request, project: ProjectForLead, saved: str = "") -> HTMLResponse:
    values = {"name": project.name, "criteria": project.criteria} | judging_settings(project)
    return _settings(request, project, values, notice=NOTICES.get(saved, ""))


@router.post("/projects/{slug}/settings")
def change_settings(
    request: Request, project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> Response:
    """Changes the settings that the form has; a box that is not ticked comes as nothing, so it counts as off."""
    values = _values(form)
    settings, errors = read_form(ProjectSettings, values)
    change, more = read_form(ProjectChange, {"name": values["name"], "criteria": values["criteria"]})
    errors |= more
    if settings is not None and change is not None:
        change.settings = {name: getattr(settings, name) for name in values if name in ProjectSettings.model_fields}
        try:
            catalogue.change_project(session, person, project.id, change)
            return RedirectResponse(f"/projects/{project.slug}/settings?saved=settings", status_code=303)
        except Invalid as error:
            errors |= field_errors(error)
    return _settings(request, project, judging_settings(project) | values, errors=errors, status=422)


def _values(form: SubmittedForm) -> dict[str, Any]:
    values: dict[str, Any] = {"name": form.get("name", ""), "criteria": form.getlist("criteria")}
    for field in FIELDS:
        if field.kind == "checkbox":
            values[field.name] = form.get(field.name) == "yes"
        elif field.name in form:
            values[field.name] = form.get(field.name) if field.required else form.get(field.name) or None
    return values


def _settings(
    request: Request,
    project: Project,
    values: dict[str, Any],
    *,
    errors: dict[str, str] | None = None,
    notice: str = "",
    status: int = 200,
) -> HTMLResponse:
    return render(
        request,
        "judging/settings.html",
        status=status,
        project=project,
        values=values,
        errors=errors or {},
        criteria=[criterion.value for criterion in Criterion],
        groups={group: [field for field in FIELDS if field.group == group] for group in (SERVING, *GROUPS)},
        notice=notice,
    )


@router.get("/projects/{slug}/guidelines/edit")
def edit_guidelines(request: Request, project: ProjectForLead, saved: str = "") -> HTMLResponse:
    return _guidelines(request, project, project.guidelines, notice=NOTICES.get(saved, ""))


@router.post("/projects/{slug}/guidelines/edit")
def save_guidelines(
    request: Request, project: ProjectForLead, person: CurrentPerson, form: SubmittedForm, session: WriteSession
) -> Response:
    """Saves the Markdown, or with `then=show` only shows what it would look like."""
    text = str(form.get("guidelines", "")).replace("\r\n", "\n")
    if form.get("then") == "show":
        return _guidelines(request, project, text)
    change, errors = read_form(ProjectChange, {"guidelines": text})
    if change is None:
        return _guidelines(request, project, text, errors=errors, status=422)
    catalogue.change_project(session, person, project.id, change)
    return RedirectResponse(f"/projects/{project.slug}/guidelines/edit?saved=guidelines", status_code=303)


@router.post("/projects/{slug}/guidelines/edit/image")
def add_image(
    request: Request,
    project: ProjectForLead,
    person: CurrentPerson,
    form: SubmittedForm,
    session: WriteSession,
) -> Response:
    """Stores an image and appends it to the guidelines as they stand in the form."""
    text = str(form.get("guidelines", "")).replace("\r\n", "\n")
    try:
        digest = catalogue.add_guideline_image(
            session, request.app.state.blobs, project.id, _image_of(form, request.app.state.settings.max_upload_mb)
        )
    except Invalid as error:
        return _guidelines(request, project, text, errors={"file": error.detail}, status=422)
    alt = str(form.get("alt", "")).strip().replace("]", "")
    text = f"{text.rstrip()}\n\n![{alt}](/projects/{project.slug}/guidelines/images/{digest})\n"
    change, errors = read_form(ProjectChange, {"guidelines": text})
    if change is None:
        return _guidelines(request, project, text, errors=errors, status=422)
    catalogue.change_project(session, person, project.id, change)
    return RedirectResponse(f"/projects/{project.slug}/guidelines/edit?saved=guidelines", status_code=303)


def _image_of(form: SubmittedForm, limit_mb: int) -> bytes:
    file = form.get("file")
    if not hasattr(file, "file"):
        raise Invalid("Choose an image first.")
    data: bytes = file.file.read((limit_mb << 20) + 1)
    if len(data) > limit_mb << 20:
        raise Invalid(f"The image is larger than {limit_mb} MB: make it smaller.")
    if not data:
        raise Invalid("Choose an image first.")
    return data


def _guidelines(
    request: Request,
    project: Project,
    text: str,
    *,
    errors: dict[str, str] | None = None,
    notice: str = "",
    status: int = 200,
) -> HTMLResponse:
    speak_to(request)
    return render(
        request,
        "judging/edit_guidelines.html",
        status=status,
        project=project,
        text=text or words("guidelines.default"),
        preview=render_guidelines(text),
        errors=errors or {},
        notice=notice,
    )
