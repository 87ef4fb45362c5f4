"""A snapshot's images as the model sees them: decoded, encoded once, kept as latents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.contract.errors import SnapshotError
from trainer.contract.images import load_pixels
from trainer.contract.snapshot import Condition, Pair, Snapshot, Split, Winner
from trainer.objectives import pool_mask

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone, Tensors

Pixels = npt.NDArray[np.uint8]
GREY = 128
"""Fill of the background before a condition is cropped: what the masked image has there anyway."""


def to_tensor(pixels: Sequence[Pixels]) -> Tensor:
    """[B,3,H,W] in [-1,1] from RGB arrays [H,W,3]."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_mask(masks: Sequence[Pixels]) -> Tensor:
    """[B,1,H,W] in [0,1] (1 = background) from arrays [H,W] of 0 to 255."""
    return torch.from_numpy(np.stack(masks)).unsqueeze(1).float() / 255


@dataclass(frozen=True)
class Coverage:
    """How much of the images is background, in shares and latent cells: shown, so that no mask is ignored unseen."""

    mean: float
    least: float
    most: float
    fewest_cells: float


class TrainingData:
    """Pairs, winners and conditions of a snapshot with their latents, on the CPU in float32.

    Everything is encoded at construction in the tables' order and in batches of a fixed size, so that two runs on one
    snapshot see the same bits.
    """

    def __init__(self, snapshot: Snapshot, backbone: Backbone, *, held_out_pairs: int, encode_batch: int = 16) -> None:
        self.snapshot = snapshot
        self._backbone = backbone
        self._batch = encode_batch
        self.pairs: list[Pair] = snapshot.pairs_of("train")
        self.held_out: list[Pair] = snapshot.pairs_of("validation")[:held_out_pairs]
        if not self.pairs:
            raise SnapshotError("no_pairs", "pairs.parquet holds no pair of the train split: nothing to train on.")
        self.winners = _winners(snapshot, "train")
        self.winners_of: dict[str, list[Winner]] = defaultdict(list)
        for winner in self.winners:
            self.winners_of[winner.condition_id].append(winner)
        self._pixels = lru_cache(maxsize=1024)(self._load)
        self._latents: dict[str, Tensor] = {}
        self._conditions: dict[str, dict[str, Tensor]] = {}
        self._texts: dict[str, dict[str, Tensor]] = {}
        self.regions: dict[str, Tensor] = {}

    def encode(self) -> None:
        """Encode texts, conditions and images that training and validation use."""
        used = {item.condition_id for item in (*self.pairs, *self.held_out, *self.winners)}
        conditions = [row for row in self.snapshot.conditions if row.condition_id in used]
        self._check_sizes(conditions)
        self._encode_texts(sorted({row.prompt for row in conditions}))
        for batch in self._batches(conditions, lambda row: (row.height, row.width)):
            self._encode_conditions(batch)
        images: dict[str, Condition] = {}
        for pair in (*self.pairs, *self.held_out):
            images[pair.win] = images[pair.lose] = self.snapshot.by_id[pair.condition_id]
        for winner in self.winners:
            images[winner.image] = self.snapshot.by_id[winner.condition_id]
        for paths in self._batches(list(images), lambda path: (images[path].height, images[path].width)):
            latents = self._backbone.encode_images(to_tensor([self._pixels(path, "RGB") for path in paths])).cpu()
            for path, latent in zip(paths, latents, strict=True):
                if not torch.isfinite(latent).all():
                    raise SnapshotError("latent_not_finite", f"{path}: the encoder gives NaN for this image.")
                self._latents[path] = latent.clone()

    def _check_sizes(self, conditions: Iterable[Condition]) -> None:
        multiple = self._backbone.pixel_multiple
        for row in conditions:
            if row.width % multiple or row.height % multiple:
                raise SnapshotError(
                    "size_multiple",
                    f"conditions.parquet ({row.condition_id}): {row.width}x{row.height} pixels, but this model needs "
                    f"multiples of {multiple}.",
                )

    def _batches(self, items: list, size: object) -> Iterable[list]:
        buckets: dict[object, list] = defaultdict(list)
        for item in items:
            buckets[size(item)].append(item)  # type: ignore[operator]  # a key function
        for bucket in buckets.values():
            for start in range(0, len(bucket), self._batch):
                yield bucket[start : start + self._batch]

    def _encode_texts(self, prompts: list[str]) -> None:
        for start in range(0, len(prompts), self._batch):
            batch = prompts[start : start + self._batch]
            text = self._backbone.encode_text(batch)
            for index, prompt in enumerate(batch):
                self._texts[prompt] = {name: value[index].cpu().clone() for name, value in text.items()}

    def _encode_conditions(self, rows: list[Condition]) -> None:
        pixels = to_tensor([self._pixels(row.image, "RGB") for row in rows])
        masks = to_mask([self._pixels(row.mask, "L") for row in rows])
        encoded = self._backbone.encode_condition(pixels, masks)
        _, height, width = self._backbone.latent_shape(*masks.shape[2:])
        regions = pool_mask(masks, height, width)
        for index, row in enumerate(rows):
            self._conditions[row.condition_id] = {k: v[index].cpu().clone() for k, v in encoded.items()}
            self.regions[row.condition_id] = regions[index].clone()

    def _load(self, path: str, mode: str) -> Pixels:
        return load_pixels(self.snapshot.path(path), mode, path)

    def latent(self, path: str) -> Tensor:
        """Latents [C,h,w] of an image."""
        return self._latents[path]

    def condition(self, condition_id: str) -> Tensors:
        """Conditioning of a condition, without batch axis."""
        return self._conditions[condition_id]

    def text(self, condition_id: str) -> Tensors:
        """Text conditioning of a condition's prompt, without batch axis."""
        return self._texts[self.snapshot.by_id[condition_id].prompt]

    def pixels(self, path: str) -> Pixels:
        """An RGB image [H,W,3]."""
        return self._pixels(path, "RGB")

    def mask(self, condition_id: str) -> Pixels:
        """A condition's mask [H,W]."""
        return self._pixels(self.snapshot.by_id[condition_id].mask, "L")

    def masked_pixels(self, condition_id: str) -> Pixels:
        """A condition's image with grey for background: what may be cropped without letting the target leak in."""
        image = self.pixels(self.snapshot.by_id[condition_id].image)
        return np.where((self.mask(condition_id) >= 128)[..., None], np.uint8(GREY), image)

    def size(self, condition_id: str) -> tuple[int, int]:
        """(height, width) in pixels."""
        row = self.snapshot.by_id[condition_id]
        return row.height, row.width

    def coverage(self) -> Coverage:
        """Background shares over all conditions in use."""
        shares = [float(region.mean()) for region in self.regions.values()]
        cells = [min(float(region.sum()), float((1 - region).sum())) for region in self.regions.values()]
        return Coverage(float(np.mean(shares)), min(shares), max(shares), min(cells))


def _winners(snapshot: Snapshot, split: Split) -> list[Winner]:
    """The winner groups; a snapshot without any falls back to the winners of its pairs."""
    winners = snapshot.winners_of(split)
    if winners:
        return winners
    seen: dict[str, Winner] = {}
    for pair in snapshot.pairs_of(split):
        seen.setdefault(pair.win, Winner(pair.condition_id, pair.win, pair.win_candidate, pair.p_win))
    return list(seen.values())
