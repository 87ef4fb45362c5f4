"""Snapshots: what may be frozen, who may have it, and how it gets to the trainer."""

import shutil
from pathlib import Path

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.catalogue.access import may_see
from backend.catalogue.models import Project
from backend.datasets import archive, repository
from backend.datasets.models import Snapshot, SnapshotState
from backend.datasets.schemas import SnapshotOut
from backend.datasets.tasks import BUILD
from backend.jobs.service import enqueue
from backend.kit.blobs import BlobStore
from backend.kit.errors import Conflict, NotFound
from backend.preferences.schemas import PairRules, YieldOut
from backend.preferences.yields import yield_to_freeze
from trainer.contract.snapshot import read_manifest


class NothingToFreeze(Conflict):
    code, title = "nothing_to_freeze", "There is nothing to freeze under these rules"


class OneSplit(Conflict):
    code, title = "one_split", "Pairs of both splits are needed"


class NotReady(Conflict):
    code, title = "snapshot_not_ready", "This snapshot is not ready"


def create_snapshot(
    session: Session, project: Project, name: str | None, rules: PairRules, *, person: Person | None = None
) -> Snapshot:
    """A new snapshot, whose job "snapshot.build" chooses the pairs anew and freezes them.

    Raises NothingToFreeze or OneSplit where the rules choose no pairs, or pairs of one split only, and Conflict where
    the name is taken; each says what to do.
    """
    name = (name or "").strip() or f"snapshot {repository.count_snapshots(session, project.id) + 1}"
    if repository.snapshot_named(session, project.id, name):
        raise Conflict(f"There is a snapshot “{name}” already. A frozen one never changes: choose another name.")
    figures = yield_to_freeze(session, project, rules)
    refuse_useless(figures)
    snapshot = Snapshot(
        project_id=project.id,
        name=name,
        rules=figures.rules.model_dump(mode="json"),
        created_by_id=person.id if person else None,
    )
    session.add(snapshot)
    session.flush()
    job = enqueue(
        session,
        BUILD,
        {"snapshot_id": snapshot.id},
        project_id=project.id,
        dedupe_key=f"{BUILD}:{snapshot.id}",
    )
    snapshot.job_id = job.id
    audit(session, person, "snapshot.create", "snapshot", str(snapshot.id), name=name, project=project.slug)
    return snapshot


def refuse_useless(figures: YieldOut) -> None:
    """Raises NothingToFreeze or OneSplit where a run on these pairs could teach or prove nothing."""
    rules, chosen = figures.rules, figures.chosen
    criterion = rules.criterion.value.replace("_", " ")
    people = "people and simulated annotators" if rules.include_simulated else "people (simulated ones are left out)"
    if figures.votes == 0:
        raise NothingToFreeze(
            f"Nobody has compared anything on {criterion} yet, counting {people}. Judge some comparisons first, or "
            "choose other criteria or annotators."
        )
    if chosen.pairs == 0:
        raise NothingToFreeze(
            f"No pair reaches p(win) {rules.threshold:.2f} with {_votes(rules.min_votes)}, counting {people}. Lower "
            "the threshold or the votes a pair needs, or have the same comparisons judged by more people."
        )
    if chosen.validation_pairs == 0:
        raise OneSplit(
            f"All {chosen.train_pairs} pairs are of training subjects, so a run could not be checked on subjects it "
            "has not seen. Judge comparisons of held-out (validation) conditions too, or lower the threshold."
        )
    if chosen.train_pairs == 0:
        raise OneSplit(
            f"All {chosen.validation_pairs} pairs are of held-out (validation) subjects, which are never trained on. "
            "Judge comparisons of training conditions too, or lower the threshold."
        )


def _votes(number: int) -> str:
    return "one vote or more" if number == 1 else f"{number} votes or more"


def snapshot_for(session: Session, snapshot_id: int, person: Person) -> tuple[Snapshot, Project]:
    """The snapshot and its project; raises NotFound where there is none that this person may see."""
    snapshot = repository.snapshot_by_id(session, snapshot_id)
    if snapshot is not None:
        project = repository.project(session, snapshot.project_id)
        if may_see(session, person, project):
            return snapshot, project
    raise NotFound(f"There is no snapshot {snapshot_id} in your projects. The list is on the project's datasets page.")


def snapshot_out(session: Session, snapshot: Snapshot, project: Project) -> SnapshotOut:
    """A snapshot as programs see it."""
    ready = snapshot.state == SnapshotState.READY
    return SnapshotOut(
        id=snapshot.id,
        project=project.slug,
        name=snapshot.name,
        state=SnapshotState(snapshot.state),
        rules=snapshot.rules,
        counts=snapshot.counts,
        content_hash=snapshot.content_hash,
        archive_bytes=repository.blob_size(session, snapshot.archive_digest),
        job_id=snapshot.job_id,
        failure=snapshot.failure,
        created_at=snapshot.created_at,
        url=f"/projects/{project.slug}/datasets/{snapshot.id}",
        archive_url=f"/api/v1/snapshots/{snapshot.id}/archive" if ready else None,
    )


def archive_digest(snapshot: Snapshot) -> str:
    """The blob of a ready snapshot; raises NotReady for any other."""
    if snapshot.state == SnapshotState.READY and snapshot.archive_digest:
        return snapshot.archive_digest
    if snapshot.state == SnapshotState.FAILED:
        raise NotReady(
            f"“{snapshot.name}” could not be frozen: {snapshot.failure or 'its job failed'}. Freeze it anew."
        )
    raise NotReady(f"“{snapshot.name}” is still being frozen: its job is {snapshot.job_id}. Ask again in a moment.")


def materialise(blobs: BlobStore, snapshot: Snapshot, folder: Path) -> Path:
    """The snapshot unpacked into `folder` for the trainer; a folder that already holds it is left as it is.

    Raises NotReady, BlobMissing where the archive is gone, and SnapshotError where it is damaged.
    """
    digest = archive_digest(snapshot)
    if (folder / "manifest.json").exists() and read_manifest(folder).content_hash != snapshot.content_hash:
        shutil.rmtree(folder)
    return archive.unpack_archive(blobs, digest, folder)
