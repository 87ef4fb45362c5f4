"""The demo project: SpatialWorld, alive from the first start."""

from sqlalchemy.orm import Session

from backend.catalogue import repository as catalogue
from backend.catalogue.models import Project
from backend.catalogue.schemas import ProjectCreate, ProjectSettings
from backend.catalogue.service import create_project
from backend.generation import repository
from backend.generation.words import trainer_problem
from backend.jobs.service import enqueue
from backend.kit.database import Database
from backend.kit.errors import Conflict
from backend.settings import Settings

SEED_KIND = "demo.seed"
SLUG = "demo"
NAME = "SpatialWorld street & shore"
GENERATOR = "SpatialWorld base"

GUIDELINES = """\
You see one subject, placed several times into a generated background. Judge **where and how it stands**, not how
pretty the picture is. The world is a simple one: level ground, a camera at the height of a standing person's eyes.

Ask of each image, in this order.

## 1. Scale
{scale}
Look for the horizon. It lies at the height of your eyes, 1.6 m, wherever the subject stands: it crosses a person near
the top of the head, a car just above its roof, a bus at its middle. A dog that reaches above the horizon is a giant; a
bus that stays far below it is a toy.

## 2. Position
{position}
Something must carry the subject, and it must be the right thing: cars and buses stand on roads, boats and swans are in
water, sheep and cows are on grass, chairs are on floors. Nothing floats in the sky or stands above the horizon.

## 3. Viewpoint
{viewpoint}
A subject seen from the side needs ground that runs to a horizon. A subject seen from straight above needs ground seen
from straight above, without any horizon. One of each in a picture cannot be.

## Win, lose, and the rest
{clean}
An image **wins** when all three hold, and **loses** when one clearly does not; say which by its key. Of two images,
when both are equally good it is a tie; when neither could be a real place, both are bad. If you cannot tell, skip: a
guess is worth less than nothing.
"""
EXAMPLES = {
    "scale": "A giant or a toy: the scale is wrong",
    "position": "In the wrong place, or carried by nothing: the position is wrong",
    "viewpoint": "Seen from another angle than the ground: the viewpoint is wrong",
    "clean": "All three hold: these win",
}


def guidelines(images: dict[str, list[str]]) -> str:
    """The demo's guidelines; `images` holds for each name of EXAMPLES the digests of pictures that show it."""

    def shown(name: str) -> str:
        pictures = " ".join(
            f"![{EXAMPLES[name]}](/projects/{SLUG}/guidelines/images/{digest})" for digest in images.get(name, [])
        )
        return f"{pictures}\n" if pictures else ""

    return GUIDELINES.format(**{name: shown(name) for name in EXAMPLES})


def ensure_demo(database: Database, settings: Settings) -> None:
    """Gives an empty database the demo project and the job that fills it; called at every start.

    A demo whose filling failed, as where the trainer was not installed, is filled at the next start that can.
    """
    if not settings.demo:
        return
    with database.reading() as session:
        exists = catalogue.any_project(session)
        demo = catalogue.project_by_slug(session, SLUG)
        wants_filling = demo is not None and demo.is_demo and _needs_filling(session, demo)
    if exists and not wants_filling:
        return
    try:
        with database.transaction() as session:
            project = catalogue.project_by_slug(session, SLUG) or _make_project(session)
            enqueue(session, SEED_KIND, {"project_id": project.id}, project_id=project.id, dedupe_key=SEED_KIND)
    except Conflict:
        # Another process of the same start was first.
        return


def _needs_filling(session: Session, demo: Project) -> bool:
    counts = catalogue.counts(session, demo.id)
    if counts["conditions"] and counts["candidates"]:
        return False
    return not repository.active_jobs(session, demo.id, [SEED_KIND, "generation.make"]) and trainer_problem() is None


def _make_project(session: Session) -> Project:
    wanted = ProjectCreate(
        name=NAME, slug=SLUG, guidelines=guidelines({}), settings=ProjectSettings(send_when_complete=True)
    )
    return create_project(session, None, wanted, is_demo=True)
