"""A small project to judge: drawn images, conditions, candidates, verdicts and comparisons."""

from dataclasses import dataclass, field

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import (
    Candidate,
    Condition,
    Generator,
    Project,
    ProjectMember,
    Split,
    Subject,
    Verdict,
)
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonKind,
    Judgment,
    Purpose,
    Vote,
)
from backend.judging.models_serving import Standing
from backend.judging.service import make_comparisons
from backend.kit.blobs import BlobStore
from backend.kit.database import Database, utcnow
from backend.kit.models import Blob
from tests.backend.judging.pictures import cutout, mask, scene
from tests.people import add_person

GENERATORS = ("base", "tuned", "other", "fourth")


@dataclass
class World:
    """A project with its comparisons; ids only, so that any session can use them."""

    project: Project
    generators: list[int] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)
    comparisons: list[int] = field(default_factory=list)


def build(
    database: Database,
    *,
    comparisons: int = 4,
    kind: ComparisonKind = ComparisonKind.PAIRWISE,
    k: int = 2,
    wanted: int = 1,
    blobs: BlobStore | None = None,
    size: int = 64,
    verdicts: bool = False,
    settings: dict | None = None,
) -> World:
    """Stores such a project; with `blobs` its images are real, else they are digests only."""
    with database.transaction() as session:
        project = Project(
            slug="street-scenes", name="Street scenes", criteria=["spatial_rationality"], settings=settings or {}
        )
        session.add(project)
        session.flush()
        world = World(project, _generators(session, project, k))
        for number in range(comparisons):
            world.groups.append(_condition(session, world, number, k, blobs, size))
        if verdicts:
            _verdicts(session, world)
        make_comparisons(
            session,
            project,
            kind=kind,
            criterion="spatial_rationality",
            candidate_groups=world.groups,
            wanted=wanted,
        )
        world.comparisons = list(session.scalars(select(Comparison.id).order_by(Comparison.id)))
        session.expunge_all()
    return world


def _generators(session: Session, project: Project, count: int) -> list[int]:
    generators = [Generator(project_id=project.id, name=name) for name in GENERATORS[:count]]
    session.add_all(generators)
    session.flush()
    return [generator.id for generator in generators]


def _blob(session: Session, blobs: BlobStore | None, data: bytes, name: str) -> str:
    digest = blobs.put(data) if blobs else name.encode().hex().ljust(64, "0")[:64]
    if session.get(Blob, digest) is None:
        session.add(Blob(digest=digest, media_type="image/png", size=len(data)))
        session.flush()
    return digest


def _condition(session: Session, world: World, number: int, k: int, blobs: BlobStore | None, size: int) -> list[int]:
    project = world.project
    draw = blobs is not None
    subject = Subject(
        project_id=project.id,
        external_id=f"subject {number}",
        name=("red car", "little boat", "tall person")[number % 3],
        split=Split.TRAIN,
        cutout_digest=_blob(session, blobs, cutout(number, size) if draw else b"", f"cut {number}"),
    )
    session.add(subject)
    session.flush()
    image = _blob(session, blobs, scene(number, 0, size) if draw else b"", f"image {number}")
    condition = Condition(
        project_id=project.id,
        external_id=f"condition {number}",
        subject_id=subject.id,
        split=Split.TRAIN,
        prompt=("a red car on a wet street", "a little boat on a calm lake", "a person on a lawn")[number % 3],
        image_digest=image,
        mask_digest=_blob(session, blobs, mask(number, size) if draw else b"", f"mask {number}"),
        width=size,
        height=size,
    )
    session.add(condition)
    session.flush()
    candidates = []
    for position, generator_id in enumerate(world.generators[:k]):
        data = scene(number, position + 1, size) if draw else b""
        digest = _blob(session, blobs, data, f"candidate {number} {position}")
        candidate = Candidate(
            project_id=project.id,
            condition_id=condition.id,
            generator_id=generator_id,
            seed=number,
            image_digest=digest,
            width=size,
            height=size,
        )
        session.add(candidate)
        candidates.append(candidate)
    session.flush()
    return [candidate.id for candidate in candidates]


def _verdicts(session: Session, world: World) -> None:
    """The first candidate of each group is rational, the others break one rule each."""
    reasons = ("scale", "position", "viewpoint")
    rows = [
        {
            "candidate_id": candidate,
            "judge": "spatialworld",
            "rational": place == 0,
            "reasons": [] if place == 0 else [reasons[(place - 1) % 3]],
            "margin": 0.5 if place == 0 else -0.5,
            "measured": {},
            "created_at": utcnow(),
        }
        for group in world.groups
        for place, candidate in enumerate(group)
    ]
    session.execute(insert(Verdict), rows)


def add_annotator(database: Database, world: World) -> Person:
    """An annotator who is a member of the project."""
    person = add_person(database, "annotator")
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=person.id))
    return person


def counters_hold(session: Session) -> None:
    """Every comparison's slots, leases and judgments add up to what is wanted, and every standing to the answers."""
    session.expire_all()
    held = list(session.scalars(select(Assignment)))
    for comparison in session.scalars(select(Comparison)):
        mine = [a for a in held if a.comparison_id == comparison.id and a.purpose == Purpose.REGULAR]
        leased = sum(a.state == AssignmentState.LEASED for a in mine)
        judged = sum(a.state == AssignmentState.SUBMITTED for a in mine)
        assert comparison.judgments == judged
        assert comparison.open_slots + leased + judged == comparison.wanted
        if comparison.state != "withdrawn":
            assert (comparison.state == "complete") == (judged >= comparison.wanted)
    for standing in session.scalars(select(Standing)):
        mine = [a for a in held if a.person_id == standing.person_id]
        assert standing.done == sum(a.state == AssignmentState.SUBMITTED for a in mine)
        assert standing.skipped == sum(a.state == AssignmentState.SKIPPED for a in mine)
    unheard = select(Vote).join(Judgment, Judgment.id == Vote.judgment_id).where(Judgment.purpose != Purpose.REGULAR)
    assert session.scalar(unheard) is None
