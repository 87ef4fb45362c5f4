"""REST of the datasets: freezing, listing and downloading snapshots."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask

from backend.accounts.access import LeadPerson, require_scope
from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Split
from backend.datasets import repository, service
from backend.datasets.archive import MEDIA_TYPE
from backend.datasets.exports import write_pick_a_pic
from backend.datasets.schemas import SnapshotIn, SnapshotOut, SnapshotsOut
from backend.kit.blobs import BlobStore
from backend.kit.database import ReadSession, WriteSession
from backend.kit.errors import Gone
from backend.kit.idempotency import IdempotencyKey, idempotent
from backend.kit.ids import Id
from backend.kit.paging import Paging

router = APIRouter(tags=["datasets"])


@router.post("/projects/{slug}/snapshots", status_code=202, dependencies=[require_scope("export")])
def create_snapshot(
    project: ProjectForLead,
    person: LeadPerson,
    session: WriteSession,
    body: SnapshotIn,
    idempotency_key: IdempotencyKey = None,
) -> SnapshotOut:
    """Freezes the pairs that the rules choose; a job does it, and `state` becomes `ready` when it is done."""

    def act() -> SnapshotOut:
        snapshot = service.create_snapshot(session, project, body.name, body.rules, person=person)
        return service.snapshot_out(session, snapshot, project)

    scope = f"snapshots:{project.id}:{person.id}"
    return SnapshotOut.model_validate(idempotent(session, scope, idempotency_key, body, act))


@router.get("/projects/{slug}/snapshots")
def list_snapshots(project: ProjectForLead, session: ReadSession, page: Paging) -> SnapshotsOut:
    """Snapshots of the project, newest first."""
    rows, cursor = repository.snapshots_page(session, project.id, page)
    return SnapshotsOut(items=[service.snapshot_out(session, row, project) for row in rows], next_cursor=cursor)


@router.get("/snapshots/{snapshot_id}")
def get_snapshot(snapshot_id: Id, person: LeadPerson, session: ReadSession) -> SnapshotOut:
    """One snapshot."""
    snapshot, project = service.snapshot_for(session, snapshot_id, person)
    return service.snapshot_out(session, snapshot, project)


@router.get(
    "/snapshots/{snapshot_id}/archive", dependencies=[require_scope("export")], response_class=StreamingResponse
)
def download(snapshot_id: Id, person: LeadPerson, session: ReadSession, request: Request) -> StreamingResponse:
    """The frozen folder as a tar: manifest.json, Parquet tables, images."""
    blobs: BlobStore = request.app.state.blobs
    snapshot, project = service.snapshot_for(session, snapshot_id, person)
    digest = service.archive_digest(snapshot)
    if not blobs.exists(digest):
        raise Gone(f"The archive of “{snapshot.name}” is no longer in the blob store: restore it, or freeze anew.")
    headers = {
        "content-disposition": f'attachment; filename="{project.slug}-{(snapshot.content_hash or "")[:12]}.tar"',
        "etag": f'"{digest}"',
    }
    size = repository.blob_size(session, digest)
    if size is not None:
        headers["content-length"] = str(size)
    return StreamingResponse(blobs.stream(digest), media_type=MEDIA_TYPE, headers=headers)


@router.get("/snapshots/{snapshot_id}/pick-a-pic", dependencies=[require_scope("export")], response_class=FileResponse)
def download_pick_a_pic(
    snapshot_id: Id,
    person: LeadPerson,
    session: ReadSession,
    request: Request,
    split: Annotated[Split | None, Query(description="Pairs of this split only.")] = None,
) -> FileResponse:
    """The pairs as one Parquet file in the columns of Pick-a-Pic (jpg_0, jpg_1, label_0, label_1, caption, …)."""
    snapshot, project = service.snapshot_for(session, snapshot_id, person)
    work = request.app.state.settings.home.absolute() / "work"
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=work, prefix="export-"))
    try:
        unpacked = service.materialise(request.app.state.blobs, snapshot, folder / "snapshot")
        write_pick_a_pic(unpacked, folder / "pairs.parquet", split=split.value if split else None)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    name = f"{project.slug}-{(snapshot.content_hash or '')[:12]}{f'-{split.value}' if split else ''}.parquet"
    return FileResponse(
        folder / "pairs.parquet",
        media_type="application/vnd.apache.parquet",
        filename=name,
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )
