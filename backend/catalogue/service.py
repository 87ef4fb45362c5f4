"""The rules of the catalogue. Services never commit."""

import re
import unicodedata
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.catalogue import repository
from backend.catalogue.blobs import PNG, store_blob
from backend.catalogue.models import Condition, Generator, Project, Split
from backend.catalogue.schemas import (
    RESERVED_SLUGS,
    GeneratorChange,
    GeneratorCreate,
    ProjectChange,
    ProjectCreate,
    ProjectSettings,
)
from backend.kit.blobs import BlobStore
from backend.kit.errors import Conflict, Invalid, NotFound
from backend.kit.images import reencode

GUIDELINE_IMAGES = "guideline_images"
MAX_GUIDELINE_IMAGES = 60


class GeneratorFrozen(Conflict):
    code, title = "generator_frozen", "This generator has already produced"


def slug_of(name: str) -> str:
    """A short name for URLs, made of the name's Latin letters and digits."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-")


def create_project(session: Session, person: Person | None, wanted: ProjectCreate, *, is_demo: bool = False) -> Project:
    """A new project with `person` as its first member. Raises Conflict for a slug that is taken."""
    slug = wanted.slug or slug_of(wanted.name)
    if not slug:
        raise Invalid("The name has no letter or digit that a URL can hold: give a slug of a-z, 0-9 and hyphens.")
    if slug in RESERVED_SLUGS:
        raise Invalid(f"“{slug}” is a page's own name: choose another slug.")
    if repository.project_by_slug(session, slug):
        raise Conflict(f"There is already a project “{slug}”: choose another name or slug.")
    project = Project(
        slug=slug,
        name=wanted.name,
        guidelines=wanted.guidelines,
        criteria=[criterion.value for criterion in dict.fromkeys(wanted.criteria)],
        settings=wanted.settings.model_dump(mode="json"),
        is_demo=is_demo,
    )
    session.add(project)
    _flush_or_conflict(session, f"There is already a project “{slug}”: choose another name or slug.")
    if person is not None:
        repository.add_members(session, project.id, [person.id])
    audit(session, person, "project.create", "project", project.id, slug=slug)
    return project


def change_project(session: Session, person: Person, project_id: int, change: ProjectChange) -> Project:
    """Changes what `change` gives; settings are merged key by key and checked."""
    project = repository.project_for_update(session, project_id)
    given = change.model_dump(exclude_unset=True, exclude_none=True, mode="json")
    if "settings" in given:
        merged = {**project.settings, **given["settings"]}
        try:
            given["settings"] = ProjectSettings.model_validate(merged).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            raise Invalid(f"Setting “{'.'.join(map(str, first['loc']))}”: {first['msg']}.") from None
    for key, value in given.items():
        setattr(project, key, value)
    session.flush()
    audit(session, person, "project.change", "project", project.id, changed=sorted(given))
    return project


def add_member(session: Session, actor: Person, project: Project, person_id: int) -> Person:
    """Lets a person work in the project; doing it twice is a no-op. Raises NotFound."""
    person = repository.person_by_id(session, person_id)
    if person is None or not person.is_active:
        raise NotFound(f"There is no active person {person_id}.")
    repository.add_members(session, project.id, [person_id])
    audit(session, actor, "project.add_member", "project", project.id, member=person_id)
    return person


def remove_member(session: Session, actor: Person, project: Project, person_id: int) -> None:
    """Takes a person out of the project; their judgments stay."""
    if repository.remove_member(session, project.id, person_id):
        audit(session, actor, "project.remove_member", "project", project.id, member=person_id)


def add_guideline_image(session: Session, blobs: BlobStore, project_id: int, data: bytes) -> str:
    """Stores an image that the guidelines may show to everybody in the project; returns its digest."""
    png, width, height = reencode(data)
    digest = store_blob(session, blobs, png, PNG, width, height)
    project = repository.project_for_update(session, project_id)
    known = project.settings.get(GUIDELINE_IMAGES, [])
    if digest not in known:
        if len(known) >= MAX_GUIDELINE_IMAGES:
            raise Conflict(f"Guidelines hold at most {MAX_GUIDELINE_IMAGES} images: remove one first.")
        project.settings = {**project.settings, GUIDELINE_IMAGES: [*known, digest]}
    return digest


def get_condition(session: Session, project: Project, condition_id: int) -> Condition:
    found = repository.condition(session, project.id, condition_id)
    if found is None:
        raise NotFound(f"There is no condition {condition_id} in “{project.name}”.")
    return found


def get_generator(session: Session, project: Project, generator_id: int) -> Generator:
    found = repository.generator(session, project.id, generator_id)
    if found is None:
        raise NotFound(f"There is no generator {generator_id} in “{project.name}”.")
    return found


def create_generator(session: Session, person: Person | None, project: Project, wanted: GeneratorCreate) -> Generator:
    """A generator that has not produced yet. Raises Conflict for a name that is taken."""
    if repository.generator_by_name(session, project.id, wanted.name):
        raise Conflict(f"“{project.name}” already has a generator “{wanted.name}”: choose another name.")
    if wanted.parent_id is not None:
        get_generator(session, project, wanted.parent_id)
    generator = Generator(
        project_id=project.id,
        name=wanted.name,
        base=wanted.base,
        sampler=wanted.sampler.model_dump() if wanted.base else {},
        parent_id=wanted.parent_id,
    )
    session.add(generator)
    _flush_or_conflict(session, f"“{project.name}” already has a generator “{wanted.name}”: choose another name.")
    audit(session, person, "generator.create", "generator", generator.id, name=wanted.name)
    return generator


def change_generator(
    session: Session, person: Person, project: Project, generator_id: int, change: GeneratorChange
) -> Generator:
    """Changes a generator that has not produced yet; raises GeneratorFrozen for one that has."""
    generator = get_generator(session, project, generator_id)
    session.refresh(generator, with_for_update=True)
    if generator.is_frozen:
        raise GeneratorFrozen(
            f"“{generator.name}” has produced candidates, and their judgments are about it as it is. Make a new "
            "generator with the other settings instead."
        )
    given: dict[str, Any] = change.model_dump(exclude_unset=True)
    if given.get("name") is None:
        given.pop("name", None)
    for key, value in given.items():
        setattr(generator, key, value)
    _flush_or_conflict(session, f"“{project.name}” already has a generator “{change.name}”: choose another name.")
    audit(session, person, "generator.change", "generator", generator.id, changed=sorted(given))
    return generator


def freeze(session: Session, generators: list[Generator]) -> None:
    """From its first candidate on a generator never changes."""
    repository.freeze_generators(session, [generator.id for generator in generators])


def summary_of_rationality(figures: dict[str, Any], split: Split | None = None) -> dict[str, Any]:
    """Sums one generator's figures over splits (or one): candidates, judged, rational, and their share or None."""
    parts = [figures[key] for key in figures if split is None or key == split]
    total = {name: sum(part[name] for part in parts) for name in ("candidates", "judged", "rational")}
    return total | {"share": total["rational"] / total["judged"] if total["judged"] else None}


def _flush_or_conflict(session: Session, message: str) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(message) from None
