"""The sampler's files on this machine: its request going in, its results coming out."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from backend.catalogue import repository as catalogue
from backend.catalogue import service as catalogue_service
from backend.catalogue.blobs import PNG, BlobFact, remember_blobs
from backend.catalogue.models import Candidate, Condition, Generator, Verdict
from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.kit.blobs import BlobStore
from trainer.contract.checkpoint import LORA_FILE
from trainer.contract.errors import SnapshotError
from trainer.contract.images import load_pixels
from trainer.contract.sampling import (
    GeneratorSpec,
    SampleItem,
    SampleRequest,
    SampleResult,
    SamplerSettings,
    read_results,
)

# Enough to fill the matrix units of two cores with 64-pixel images, small enough that pictures appear every second.
BATCH_SIZE = 32
# A large pipeline holds one image of a megapixel at a time.
LARGE_SIDE = 256
Key = tuple[int, int]


def item_key(condition_id: int, seed: int) -> str:
    return f"c{condition_id}-s{seed}"


def write_request(folder: Path, blobs: BlobStore, generator: Generator, missing: list[tuple[Condition, int]]) -> Path:
    """Lays out conditions, adapter and `request.json` in `folder`; returns the request's path."""
    (folder / "conditions").mkdir(parents=True, exist_ok=True)
    items = []
    for condition, seed in missing:
        image, mask = _fetch(folder, blobs, condition.image_digest), _fetch(folder, blobs, condition.mask_digest)
        items.append(
            SampleItem(
                key=item_key(condition.id, seed),
                image=image,
                mask=mask,
                prompt=condition.prompt,
                seed=seed,
                spatialworld=condition.spec,
            )
        )
    side = max((max(condition.width, condition.height) for condition, _ in missing), default=1)
    request = SampleRequest(
        generator=GeneratorSpec(
            base=generator.base or "",
            adapter=_fetch_adapter(folder, blobs, generator.adapter_digest),
            sampler=SamplerSettings.model_validate(generator.sampler),
        ),
        items=items,
        batch_size=1 if side > LARGE_SIDE else BATCH_SIZE,
    )
    path = folder / "request.json"
    path.write_text(request.model_dump_json(), encoding="utf-8")
    return path


def _fetch(folder: Path, blobs: BlobStore, digest: str) -> Path:
    relative = Path("conditions") / f"{digest}.png"
    target = folder / relative
    if not target.exists():
        staged = target.with_suffix(".part")
        blobs.fetch(digest, staged)
        staged.replace(target)
    return relative


def _fetch_adapter(folder: Path, blobs: BlobStore, digest: str | None) -> str | None:
    if digest is None:
        return None
    adapter = folder / "adapter"
    adapter.mkdir(exist_ok=True)
    staged = adapter / "staged.part"
    blobs.fetch(digest, staged)
    staged.replace(adapter / LORA_FILE)
    return str(adapter)


@dataclass
class Harvest:
    """Takes results into the catalogue while the sampler still works; each poll is one transaction."""

    context: JobContext
    generator: Generator
    out: Path
    wanted: dict[str, tuple[Condition, int]]
    done_before: int = 0
    total: int = 0
    label: str = ""
    stored: int = 0
    offset: int = 0
    truths: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def poll(self) -> None:
        """Stores what is new; raises JobFailed where the sampler left the true foreground behind."""
        results, offset = read_results(self.out, self.offset)
        fresh = [result for result in results if result.key in self.wanted]
        if fresh:
            # Files and images first: a transaction on SQLite makes all other writers wait.
            rows = [self._read(result) for result in fresh]
            self._store(rows, fresh)
            for result in fresh:
                self.wanted.pop(result.key, None)
            self.stored += len(fresh)
        self.offset = offset
        self.context.progress(self.done_before + self.stored, self.total, self.label)

    def _read(self, result: SampleResult) -> BlobFact:
        condition, _ = self.wanted[result.key]
        data = (self.out / result.image).read_bytes()
        try:
            pixels = load_pixels(data, "RGB", result.image)
        except SnapshotError as error:
            raise JobFailed("sample_damaged", f"The sampler wrote an image that cannot be read: {error}") from None
        true, mask = self._truth(condition)
        if pixels.shape != true.shape or not np.array_equal(pixels[mask == 0], true[mask == 0]):
            raise JobFailed(
                "foreground_differs",
                f"An image of condition {condition.id} by “{self.generator.name}” does not carry the true subject. "
                "The worker's trainer is of another version than the service: bring both to one.",
            )
        digest = self.context.blobs.put(data)
        return BlobFact(digest, PNG, len(data), pixels.shape[1], pixels.shape[0])

    def _truth(self, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        if condition.id not in self.truths:
            if len(self.truths) > 256:
                self.truths.clear()
            blobs = self.context.blobs
            self.truths[condition.id] = (
                load_pixels(blobs.read(condition.image_digest), "RGB", f"condition {condition.id}, image"),
                load_pixels(blobs.read(condition.mask_digest), "L", f"condition {condition.id}, mask"),
            )
        return self.truths[condition.id]

    def _freeze_as_read(self, session: Session) -> None:
        """From its first image on the generator never changes; images of what it was before are not its own."""
        catalogue_service.freeze(session, [self.generator])
        now = session.get_one(Generator, self.generator.id)
        if (now.base, now.sampler) != (self.generator.base, self.generator.sampler):
            raise JobFailed(
                "generator_changed",
                f"“{now.name}” was changed while its first images were being made, so they were not kept: make its "
                "candidates again.",
            )

    def _store(self, facts: list[BlobFact], results: list[SampleResult]) -> None:
        settings = SamplerSettings.model_validate(self.generator.sampler).model_dump()
        rows = []
        for fact, result in zip(facts, results, strict=True):
            condition, seed = self.wanted[result.key]
            rows.append(
                {
                    "project_id": condition.project_id,
                    "condition_id": condition.id,
                    "generator_id": self.generator.id,
                    "seed": seed,
                    "sampler": settings,
                    "image_digest": fact.digest,
                    "width": fact.width,
                    "height": fact.height,
                }
            )
        with self.context.transaction() as session:
            remember_blobs(session, facts)
            self._freeze_as_read(session)
            catalogue.insert_missing(session, Candidate, rows)
            conditions, seeds = {row["condition_id"] for row in rows}, {row["seed"] for row in rows}
            ids = catalogue.candidate_keys(session, self.generator.id, conditions, seeds)
            verdicts = [
                {
                    "candidate_id": ids[row["condition_id"], row["seed"]],
                    "judge": result.verdict.judge,
                    "rational": result.verdict.rational,
                    "reasons": result.verdict.reasons,
                    "margin": result.verdict.margin,
                    "measured": result.verdict.measured,
                }
                for row, result in zip(rows, results, strict=True)
                if result.verdict is not None
            ]
            catalogue.insert_missing(session, Verdict, verdicts)
