"""The sample grid of a run: the same held-out conditions and seeds at every look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import SamplesConfig
from trainer.contract.events import Sample, SampleImage
from trainer.contract.images import encode_png
from trainer.contract.snapshot import Condition, Snapshot
from trainer.sampling import Prompted, condition_pixels, judge, sample_images

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone
    from trainer.data.source import TrainingData


class Grid:
    """Draws `samples.conditions` held-out conditions, of different subjects as far as there are."""

    def __init__(self, data: TrainingData, backbone: Backbone, config: SamplesConfig) -> None:
        self._backbone = backbone
        self._config = config
        self._rows = shown_conditions(data.snapshot, config)
        self._prompted = [
            Prompted(*condition_pixels(data.snapshot, row), data.text(row.condition_id), config.seed + index)
            for index, row in enumerate(self._rows)
        ]

    def __bool__(self) -> bool:
        return bool(self._rows)

    def draw(self, step: int, folder: RunFolder, *, write: bool = True) -> Sample:
        """Sample the grid, write it under the run folder (one of several processes does), and return its event."""
        target = folder.samples(step)
        target.mkdir(parents=True, exist_ok=True)
        images: list[SampleImage] = []
        config = self._config
        pixels = sample_images(self._backbone, self._prompted, steps=config.steps, guidance=config.guidance)
        verdicts = judge(pixels, [item.mask for item in self._prompted], [row.spec for row in self._rows])
        for row, item, image, verdict in zip(self._rows, self._prompted, pixels, verdicts, strict=True):
            file = target / f"{len(images):02d}-seed{item.seed}.png"
            if write:
                file.write_bytes(encode_png(Image.fromarray(image)))
            images.append(
                SampleImage(
                    condition_id=row.condition_id,
                    seed=item.seed,
                    image=file.relative_to(folder.root).as_posix(),
                    prompt=row.prompt,
                    rational=verdict.rational if verdict else None,
                    reasons=verdict.reasons if verdict else [],
                )
            )
        return Sample(step=step, images=images)


def shown_conditions(snapshot: Snapshot, config: SamplesConfig) -> list[Condition]:
    """Held-out conditions of one size, one of each subject first; train ones if none are held out."""
    if not config.every:
        return []
    rows = [row for row in snapshot.conditions if row.split == "validation"] or list(snapshot.conditions)
    rows = [row for row in rows if (row.width, row.height) == (rows[0].width, rows[0].height)]
    seen: dict[str, int] = {}
    ranked = []
    for row in rows:
        seen[row.subject_id] = seen.get(row.subject_id, -1) + 1
        ranked.append((seen[row.subject_id], row.condition_id, row))
    ranked.sort(key=lambda item: item[:2])
    return [row for _, _, row in ranked[: config.conditions]]
