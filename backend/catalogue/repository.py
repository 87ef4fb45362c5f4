"""All SQL of the catalogue."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from backend.accounts.models import Person, Role
from backend.catalogue.models import (
    Candidate,
    Condition,
    Generator,
    Import,
    Project,
    ProjectMember,
    Split,
    Subject,
    Verdict,
)
from backend.kit.paging import PageRequest, encode_cursor, fetch_page

# SQLite binds at most 32,766 values a statement; ids come in lists of any length.
CHUNK = 5_000


def _chunks(values: Iterable[Any]) -> Iterable[list[Any]]:
    ordered = list(values)
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def insert_missing(session: Session, model: type[Any], rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the rows whose unique key is not there yet; the others are left as they are."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    for start in range(0, len(rows), 500):
        session.execute(dialect.insert(model).values(list(rows[start : start + 500])).on_conflict_do_nothing())


# Projects and members


def project_by_slug(session: Session, slug: str) -> Project | None:
    return session.scalar(select(Project).where(Project.slug == slug))


def project_seen_by(session: Session, slug: str, person: Person) -> Project | None:
    """The project, if the person works in it: admins in all, others where they are members."""
    return session.scalar(_projects_of(person).where(Project.slug == slug))


def project_for_update(session: Session, project_id: int) -> Project:
    return session.scalars(select(Project).where(Project.id == project_id).with_for_update()).one()


def _projects_of(person: Person) -> Select[tuple[Project]]:
    query = select(Project)
    if person.role != Role.ADMIN:
        query = query.join(ProjectMember, ProjectMember.project_id == Project.id).where(
            ProjectMember.person_id == person.id
        )
    return query


def projects_page(session: Session, person: Person, page: PageRequest) -> tuple[list[Project], str | None]:
    return fetch_page(session, _projects_of(person), Project.id, page)


def projects_of(session: Session, person: Person) -> list[Project]:
    return list(session.scalars(_projects_of(person).order_by(Project.id)))


def all_projects(session: Session) -> list[Project]:
    return list(session.scalars(select(Project).order_by(Project.id)))


def any_project(session: Session) -> bool:
    return session.scalar(select(Project.id).limit(1)) is not None


def is_member(session: Session, project_id: int, person_id: int) -> bool:
    return session.get(ProjectMember, (project_id, person_id)) is not None


def projects_of_member(session: Session, person_id: int) -> list[int]:
    return list(session.scalars(select(ProjectMember.project_id).where(ProjectMember.person_id == person_id)))


def members(session: Session, project_id: int) -> list[Person]:
    query = (
        select(Person)
        .join(ProjectMember, ProjectMember.person_id == Person.id)
        .where(ProjectMember.project_id == project_id)
        .order_by(Person.id)
    )
    return list(session.scalars(query))


def add_members(session: Session, project_id: int, person_ids: Iterable[int]) -> None:
    insert_missing(session, ProjectMember, [{"project_id": project_id, "person_id": who} for who in person_ids])


def remove_member(session: Session, project_id: int, person_id: int) -> int:
    query = delete(ProjectMember).where(ProjectMember.project_id == project_id, ProjectMember.person_id == person_id)
    return session.execute(query).rowcount


def person_by_id(session: Session, person_id: int) -> Person | None:
    return session.get(Person, person_id)


# Subjects and conditions


def subjects_page(session: Session, project_id: int, page: PageRequest) -> tuple[list[Subject], str | None]:
    return fetch_page(session, select(Subject).where(Subject.project_id == project_id), Subject.id, page)


def subjects_by_external_id(session: Session, project_id: int, names: Iterable[str]) -> dict[str, Subject]:
    found: dict[str, Subject] = {}
    for chunk in _chunks(set(names)):
        query = select(Subject).where(Subject.project_id == project_id, Subject.external_id.in_(chunk))
        found.update({subject.external_id: subject for subject in session.scalars(query)})
    return found


def conditions_query(project_id: int, split: Split | None = None, search: str = "") -> Select[tuple[Condition]]:
    query = select(Condition).where(Condition.project_id == project_id)
    if split is not None:
        query = query.where(Condition.split == split)
    if search:
        query = query.where(Condition.prompt.icontains(search, autoescape=True))
    return query


def conditions_page(
    session: Session, project_id: int, page: PageRequest, *, split: Split | None = None, search: str = ""
) -> tuple[list[Condition], str | None]:
    return fetch_page(session, conditions_query(project_id, split, search), Condition.id, page)


def conditions_from(
    session: Session, project_id: int, page: PageRequest, *, split: Split | None = None, search: str = ""
) -> tuple[list[Condition], str | None]:
    """A page in the order in which conditions came, which is also the order in which candidates are made."""
    query = conditions_query(project_id, split, search).order_by(Condition.id).limit(page.limit + 1)
    if page.after is not None:
        query = query.where(Condition.id > page.after)
    rows = list(session.scalars(query))
    if len(rows) <= page.limit:
        return rows, None
    rows.pop()
    return rows, encode_cursor(rows[-1].id)


def first_conditions(
    session: Session, project_id: int, *, split: Split | None = None, limit: int | None = None
) -> list[Condition]:
    """The oldest conditions, in the order in which they came."""
    return list(session.scalars(conditions_query(project_id, split).order_by(Condition.id).limit(limit)))


def condition(session: Session, project_id: int, condition_id: int) -> Condition | None:
    found = session.get(Condition, condition_id)
    return found if found is not None and found.project_id == project_id else None


def neighbours(session: Session, project_id: int, condition_id: int) -> tuple[int | None, int | None]:
    """Ids of the conditions before and after this one in the grid's order."""
    before = session.scalar(
        select(func.max(Condition.id)).where(Condition.project_id == project_id, Condition.id < condition_id)
    )
    after = session.scalar(
        select(func.min(Condition.id)).where(Condition.project_id == project_id, Condition.id > condition_id)
    )
    return before, after


def conditions_by_external_id(session: Session, project_id: int, names: Iterable[str]) -> dict[str, Condition]:
    found: dict[str, Condition] = {}
    for chunk in _chunks(set(names)):
        query = select(Condition).where(Condition.project_id == project_id, Condition.external_id.in_(chunk))
        found.update({row.external_id: row for row in session.scalars(query)})
    return found


def conditions_by_id(session: Session, ids: Iterable[int]) -> dict[int, Condition]:
    found: dict[int, Condition] = {}
    for chunk in _chunks(set(ids)):
        found.update({row.id: row for row in session.scalars(select(Condition).where(Condition.id.in_(chunk)))})
    return found


def counts(session: Session, project_id: int) -> dict[str, int]:
    """How many subjects, conditions (by split), candidates and generators a project has."""
    result = {
        name: session.scalar(select(func.count()).select_from(model).where(model.project_id == project_id)) or 0
        for name, model in (("subjects", Subject), ("candidates", Candidate), ("generators", Generator))
    }
    splits = dict(
        session.execute(
            select(Condition.split, func.count()).where(Condition.project_id == project_id).group_by(Condition.split)
        ).all()
    )
    for split in Split:
        result[f"{split.value}_conditions"] = splits.get(split.value, 0)
    result["conditions"] = sum(splits.values())
    return result


# Generators


def generator(session: Session, project_id: int, generator_id: int) -> Generator | None:
    found = session.get(Generator, generator_id)
    return found if found is not None and found.project_id == project_id else None


def generator_by_name(session: Session, project_id: int, name: str) -> Generator | None:
    return session.scalar(select(Generator).where(Generator.project_id == project_id, Generator.name == name))


def generators_page(session: Session, project_id: int, page: PageRequest) -> tuple[list[Generator], str | None]:
    return fetch_page(session, select(Generator).where(Generator.project_id == project_id), Generator.id, page)


def generators(session: Session, project_id: int) -> list[Generator]:
    return list(session.scalars(select(Generator).where(Generator.project_id == project_id).order_by(Generator.id)))


def generators_by_name(session: Session, project_id: int, names: Iterable[str]) -> dict[str, Generator]:
    found: dict[str, Generator] = {}
    for chunk in _chunks(set(names)):
        query = select(Generator).where(Generator.project_id == project_id, Generator.name.in_(chunk))
        found.update({row.name: row for row in session.scalars(query)})
    return found


def freeze_generators(session: Session, generator_ids: Iterable[int]) -> None:
    query = update(Generator).where(Generator.id.in_(list(generator_ids)), Generator.is_frozen.is_(False))
    session.execute(query.values(is_frozen=True))


def generator_figures(session: Session, project_id: int) -> dict[int, dict[str, Any]]:
    """For each generator: candidates, how many an exact judge looked at, and how many of those it calls rational."""
    rational = func.sum(case((Verdict.rational.is_(True), 1), else_=0))
    query = (
        select(
            Candidate.generator_id,
            Condition.split,
            func.count(Candidate.id),
            func.count(Verdict.candidate_id),
            rational,
        )
        .join(Condition, Condition.id == Candidate.condition_id)
        .outerjoin(Verdict, Verdict.candidate_id == Candidate.id)
        .where(Candidate.project_id == project_id)
        .group_by(Candidate.generator_id, Condition.split)
    )
    figures: dict[int, dict[str, Any]] = {}
    for generator_id, split, candidates, seen, good in session.execute(query):
        figures.setdefault(generator_id, {})[split] = {
            "candidates": candidates,
            "judged": seen,
            "rational": int(good or 0),
        }
    return figures


# Candidates and verdicts


def candidates_page(
    session: Session,
    project_id: int,
    page: PageRequest,
    *,
    condition_id: int | None = None,
    generator_id: int | None = None,
) -> tuple[list[Candidate], str | None]:
    query = select(Candidate).where(Candidate.project_id == project_id)
    if condition_id is not None:
        query = query.where(Candidate.condition_id == condition_id)
    if generator_id is not None:
        query = query.where(Candidate.generator_id == generator_id)
    return fetch_page(session, query, Candidate.id, page)


def candidates_of(session: Session, condition_ids: Iterable[int]) -> list[Candidate]:
    """All candidates of these conditions, by condition, generator and seed."""
    found: list[Candidate] = []
    for chunk in _chunks(condition_ids):
        query = select(Candidate).where(Candidate.condition_id.in_(chunk))
        found.extend(session.scalars(query.order_by(Candidate.condition_id, Candidate.generator_id, Candidate.seed)))
    return found


def candidate_keys(
    session: Session, generator_id: int, condition_ids: Iterable[int], seeds: Iterable[int]
) -> dict[tuple[int, int], int]:
    """(condition, seed) to candidate id, of what a generator has made for these conditions with these seeds."""
    found: dict[tuple[int, int], int] = {}
    wanted = list(seeds)
    for chunk in _chunks(set(condition_ids)):
        query = select(Candidate.condition_id, Candidate.seed, Candidate.id).where(
            Candidate.condition_id.in_(chunk), Candidate.generator_id == generator_id, Candidate.seed.in_(wanted)
        )
        found.update({(condition, seed): identifier for condition, seed, identifier in session.execute(query)})
    return found


def verdicts_of(session: Session, candidate_ids: Iterable[int]) -> dict[int, list[Verdict]]:
    found: dict[int, list[Verdict]] = {}
    for chunk in _chunks(candidate_ids):
        for verdict in session.scalars(select(Verdict).where(Verdict.candidate_id.in_(chunk)).order_by(Verdict.judge)):
            found.setdefault(verdict.candidate_id, []).append(verdict)
    return found


def shared_candidates(
    session: Session, project_id: int, left_id: int, right_id: int, page: PageRequest
) -> tuple[list[tuple[Candidate, Candidate]], str | None]:
    """Pairs of candidates of two generators with one condition and one seed, newest on the left first."""
    left, right = aliased(Candidate), aliased(Candidate)
    query = (
        select(left)
        .join(right, (right.condition_id == left.condition_id) & (right.seed == left.seed))
        .where(left.project_id == project_id, left.generator_id == left_id, right.generator_id == right_id)
    )
    rows, cursor = fetch_page(session, query, left.id, page)
    others = select(Candidate).where(
        Candidate.generator_id == right_id, Candidate.condition_id.in_([row.condition_id for row in rows])
    )
    by_key = {(row.condition_id, row.seed): row for row in session.scalars(others)}
    return [(row, by_key[row.condition_id, row.seed]) for row in rows], cursor


# Imports


def imports_page(session: Session, project_id: int, page: PageRequest) -> tuple[list[Import], str | None]:
    return fetch_page(session, select(Import).where(Import.project_id == project_id), Import.id, page)
