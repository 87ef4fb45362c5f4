"""From a run's folder into the database: events by their sequence number, and the samples and checkpoints they name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue.blobs import PNG, BlobFact, remember_blobs
from backend.jobs.context import JobContext
from backend.kit.blobs import file_digest
from backend.kit.errors import Invalid
from backend.kit.images import decode
from backend.training import repository
from backend.training.models import Attempt, Run
from trainer.contract.checkpoint import RunFolder
from trainer.contract.events import CheckpointEvent, Event, Sample, read_events

# One transaction a batch: the lease is checked between them, and no other writer waits long.
BATCH = 200
LOG_TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A sample image that lies in the blob store."""

    position: int
    label: str
    blob: BlobFact
    verdict: dict[str, Any] | None


@dataclass(slots=True)
class Ingest:
    """Follows one attempt's event stream; safe to start over at any time, on any worker."""

    context: JobContext
    run_id: int
    attempt_id: int
    folder: RunFolder
    log: Path
    seen: int = -1
    offset: int = 0
    step: int = 0
    total_steps: int = 0

    def restore_stream(self) -> None:
        """Writes the stored events back where the folder has lost them (another machine), so that `seq` goes on."""
        with self.context.database.reading() as session:
            self.seen = repository.last_seq(session, self.run_id)
            if self.seen < 0 or self.folder.events.exists():
                return
            lines = [
                json.dumps({"seq": event.seq, "kind": event.kind, "step": event.step, **event.body})
                for event in repository.all_events(session, self.run_id)
            ]
        self.folder.root.mkdir(parents=True, exist_ok=True)
        self.folder.events.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def poll(self) -> None:
        """Takes in what the trainer has written since the last call. Raises LostLease when the fence is gone."""
        events, offset = read_events(self.folder.events, self.offset)
        fresh = [event for event in events if event.seq > self.seen]
        for start in range(0, len(fresh), BATCH):
            self._store(fresh[start : start + BATCH])
        self.offset = offset

    def _store(self, events: list[Event]) -> None:
        images = {event.seq: self._store_images(event) for event in events if isinstance(event, Sample)}
        digests = {event.seq: self._checkpoint_digest(event) for event in events if isinstance(event, CheckpointEvent)}
        with self.context.transaction() as session:
            repository.add_events(session, [self._row(event) for event in events])
            for event in events:
                self._apply(session, event, images.get(event.seq, []), digests.get(event.seq))
            run = session.get_one(Run, self.run_id)
            run.step = self.step = events[-1].step
            attempt = session.get_one(Attempt, self.attempt_id)
            attempt.first_step = events[0].step if attempt.first_step is None else attempt.first_step
            attempt.last_step = events[-1].step
            attempt.log_tail = log_tail(self.log)
        self.seen = events[-1].seq
        self.context.progress(self.step, self.total_steps, f"step {self.step} of {self.total_steps}")

    def _row(self, event: Event) -> dict[str, Any]:
        body = event.model_dump(mode="json", exclude={"seq", "kind", "step"})
        return {
            "run_id": self.run_id,
            "seq": event.seq,
            "kind": event.kind,
            "step": event.step,
            "time": event.time,
            "body": body,
        }

    def _apply(self, session: Session, event: Event, images: list[StoredImage], digest: str | None) -> None:
        if event.kind in repository.RESTARTS:
            repository.forget_after(session, self.run_id, event.step)
        if images:
            remember_blobs(session, [image.blob for image in images])
            repository.save_samples(session, [self._sample_row(event, image) for image in images])
        if digest is not None:
            repository.save_checkpoints(
                session, [{"run_id": self.run_id, "step": event.step, "digest": digest, "is_kept": True}]
            )
            repository.keep_only(session, self.run_id, [step for step, _ in self.folder.published_checkpoints()])

    def _sample_row(self, event: Event, image: StoredImage) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "step": event.step,
            "position": image.position,
            "label": image.label,
            "image_digest": image.blob.digest,
            "verdict": image.verdict,
        }

    def _store_images(self, event: Sample) -> list[StoredImage]:
        stored = []
        for position, image in enumerate(event.images):
            try:
                data = (self.folder.root / image.image).read_bytes()
                size = decode(data, name=image.image).size
            except (OSError, Invalid):
                continue  # A step that a later attempt draws again may have lost its image; the curves do not need it.
            digest = self.context.blobs.put(data)
            verdict = image.model_dump(mode="json", exclude={"image", "prompt"})
            stored.append(StoredImage(position, image.prompt[:300], BlobFact(digest, PNG, len(data), *size), verdict))
        return stored

    def _checkpoint_digest(self, event: CheckpointEvent) -> str | None:
        """The hash of the checkpoint's manifest, which itself holds the hashes of its files."""
        try:
            return file_digest(self.folder.root / event.path / "manifest.json")
        except OSError:
            return None  # Removed already: newer ones were published before this event was read.


def log_tail(path: Path) -> str:
    """The last whole lines of a log, at most 16 KiB; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - LOG_TAIL_BYTES, 0))
            data = file.read()
    except OSError:
        return ""
    text = data.decode("utf-8", errors="replace").replace("\x00", "")
    return text if size <= LOG_TAIL_BYTES else text.partition("\n")[2]
