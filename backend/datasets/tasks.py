"""The job that freezes a snapshot."""

import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue.blobs import BlobFact, remember_blobs
from backend.datasets import build, repository
from backend.datasets.archive import MEDIA_TYPE, write_archive
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs.context import JobContext
from backend.jobs.errors import JobCancelled, JobFailed
from backend.jobs.models import Job, JobState
from backend.jobs.registry import job_handler
from backend.kit.blobs import BlobMissing
from backend.preferences.schemas import PairRules
from trainer.contract.errors import SnapshotError

BUILD = "snapshot.build"


def _carry_over(session: Session, job: Job) -> None:
    """A job that ended otherwise than well leaves a snapshot that says why."""
    if job.state == JobState.SUCCEEDED:
        return
    snapshot = repository.snapshot_by_id(session, int(job.payload["snapshot_id"]))
    if snapshot is None or snapshot.state != SnapshotState.BUILDING:
        return
    snapshot.state = SnapshotState.FAILED
    snapshot.failure = job.error_message if job.state == JobState.FAILED else "Cancelled before it was complete."


@job_handler(BUILD, queue="cpu", max_attempts=3, on_settled=_carry_over)
def build_snapshot(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Chooses the pairs, writes and verifies the folder, stores it as a tar, and marks the snapshot ready.

    A snapshot that is ready stays as it is: its worker was lost just after it was frozen.
    """
    context.progress(0, None, "Choosing pairs")
    with context.database.reading() as session:
        repository.freeze_reading(session)
        snapshot = repository.snapshot_by_id(session, int(payload["snapshot_id"]))
        if snapshot is None:
            raise _gone(int(payload["snapshot_id"]))
        if snapshot.state == SnapshotState.READY:
            return _result(snapshot)
        project = repository.project(session, snapshot.project_id)
        material = build.gather(session, project, PairRules.model_validate(snapshot.rules))
        name, slug = snapshot.name, project.slug
    work = context.settings.home.absolute() / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="snapshot-") as folder:
        return _freeze(context, material, Path(folder), int(payload["snapshot_id"]), name, slug)


def _freeze(
    context: JobContext, material: build.Material, folder: Path, snapshot_id: int, name: str, slug: str
) -> dict[str, Any]:
    done = 0

    def note_row() -> None:
        nonlocal done
        done += 1
        context.progress(done, material.steps, "Writing images")
        if context.cancelled():
            raise JobCancelled

    try:
        frozen = build.write_folder(material, context.blobs, folder / "snapshot", name=name, on_row=note_row)
    except SnapshotError as error:
        raise JobFailed(error.code, f"{error.message} Nothing was frozen.") from error
    except BlobMissing as error:
        raise JobFailed(
            "image_missing", f"The stored image {error} is gone: restore the blob store, then freeze again."
        ) from error
    context.progress(done, material.steps, "Packing")
    content_hash = frozen.manifest.content_hash
    archive = folder / "snapshot.tar"
    write_archive(folder / "snapshot", archive, root=f"{slug}-{content_hash[:12]}")
    digest = context.blobs.put_file(archive)
    counts = build.counts_of(material, frozen)
    with context.transaction() as session:
        remember_blobs(session, [BlobFact(digest, MEDIA_TYPE, archive.stat().st_size)])
        snapshot = repository.snapshot_for_update(session, snapshot_id)
        if snapshot is None:
            raise _gone(snapshot_id)
        if snapshot.state == SnapshotState.BUILDING:
            snapshot.state = SnapshotState.READY
            snapshot.counts = counts
            snapshot.rules = material.chosen.rules.model_dump(mode="json")
            snapshot.content_hash = content_hash
            snapshot.archive_digest = digest
            snapshot.failure = None
        return _result(snapshot)


def _gone(snapshot_id: int) -> JobFailed:
    return JobFailed("snapshot_gone", f"There is no snapshot {snapshot_id} any more.")


def _result(snapshot: Snapshot) -> dict[str, Any]:
    return {"snapshot_id": snapshot.id, "content_hash": snapshot.content_hash, **snapshot.counts}
