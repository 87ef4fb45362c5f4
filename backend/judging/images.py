"""The images of an assignment: blinded, and only for who holds it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from backend.accounts.access import CurrentPerson, trusts_recent
from backend.judging import repository_images
from backend.kit.blobs import BlobStore
from backend.kit.database import Database, get_database
from backend.kit.errors import NotFound
from backend.kit.ids import Id
from backend.kit.images import bare_png_mode, reencode, thumbnail

router = APIRouter()
Db = Annotated[Database, Depends(get_database)]

# The longest side in a list, in pixels: twice what it takes there, for fine screens.
SMALL = 384
# As many as a win/lose comparison shows, one key each.
MAX_SHOWN = 9
# The assignment's address never means another image, and nobody between may keep a copy.
IMAGE_HEADERS = {"cache-control": "private, max-age=86400, immutable", "vary": "cookie"}


@router.get("/judge/assignments/{assignment_id}/images/{shown_position}")
@trusts_recent
def candidate_image(
    assignment_id: Id,
    shown_position: Annotated[int, Path(ge=0, lt=MAX_SHOWN)],
    request: Request,
    person: CurrentPerson,
    database: Db,
    small: bool = False,
) -> Response:
    """The candidate at a shown position, to the assignment's holder only; every candidate looks alike on the wire.

    `small` fits it into a list of earlier answers.
    """
    with database.looking_up() as session:
        digest = repository_images.shown_digest(session, assignment_id, person.id, shown_position)
    return blinded_image(request, digest, small=small)


@router.get("/judge/assignments/{assignment_id}/subject")
@trusts_recent
def subject_image(assignment_id: Id, request: Request, person: CurrentPerson, database: Db) -> Response:
    """The subject's cut-out, or the condition's image where there is none."""
    with database.looking_up() as session:
        digests = repository_images.condition_digests(session, assignment_id, person.id)
    return blinded_image(request, (digests[0] or digests[1]) if digests else None, mode="RGBA")


@router.get("/judge/assignments/{assignment_id}/mask")
@trusts_recent
def mask_image(assignment_id: Id, request: Request, person: CurrentPerson, database: Db) -> Response:
    """The mask, 8-bit grey: 255 is background, 0 the subject."""
    with database.looking_up() as session:
        digests = repository_images.condition_digests(session, assignment_id, person.id)
    return blinded_image(request, digests[2] if digests else None, mode="L")


def blinded_image(request: Request, digest: str | None, mode: str = "RGB", *, small: bool = False) -> Response:
    """The pixels of a stored image and nothing else. Raises NotFound where there is no digest."""
    if digest is None:
        raise NotFound("There is no such image among your assignments.")
    data = bare_image(request.app.state.blobs, digest, mode)
    if small:
        data = thumbnail(data, SMALL)
    return Response(data, media_type="image/png", headers=IMAGE_HEADERS)


def bare_image(blobs: BlobStore, digest: str, mode: str) -> bytes:
    """The PNG of a stored image's pixels alone. Raises BlobMissing where it is not stored."""
    data = blobs.read(digest)
    # Everything of ours is stored so; what is not is made so, since a text, a time or a profile might tell its maker.
    return data if bare_png_mode(data) == mode else reencode(data, mode=mode)[0]
