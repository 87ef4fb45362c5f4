"""A snapshot's images as the model sees them: decoded and encoded once, kept in a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.contract.errors import SnapshotError
from trainer.contract.images import load_pixels
from trainer.contract.snapshot import Condition, Pair, Snapshot, Split, Winner
from trainer.data.crops import SubjectMask, Window, crop_and_scale
from trainer.data.encoders import Prints, prints_of
from trainer.data.shards import ShardStore, content_key
from trainer.objectives import Pooling, pool_mask
from trainer.parallel import ALONE, Processes

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone, EncoderKind, Tensors

Pixels = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
DECODED = 64
"""Decoded images kept in memory while encoding."""
REGION = "region"
NEEDS: dict[str, EncoderKind] = {"text": "text", "nothing": "text", "condition": "vae", "image": "vae"}
"""Which encoders a kind of item is made by; a region needs none."""
LACKING: dict[EncoderKind, str] = {"text": "texts", "vae": "images or conditions"}


def to_tensor(pixels: Sequence[Pixels]) -> Tensor:
    """[B,3,H,W] in [-1,1] from RGB arrays [H,W,3]."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_mask(masks: Sequence[Pixels]) -> Tensor:
    """[B,1,H,W] in [0,1] (1 = background) from arrays [H,W] of 0 to 255."""
    return torch.from_numpy(np.stack(masks)).unsqueeze(1).float() / 255


class Crop(NamedTuple):
    """A member of a CAPO pair: its image and its condition, each inside a window (None: the whole image)."""

    condition_id: str
    path: str
    window: Window
    image_window: Window | None


@dataclass(frozen=True)
class _Item:
    """One thing to encode: a condition's text, its conditioning, its region, or an image made for it."""

    kind: str
    key: str
    row: Condition
    path: str = ""
    window: Window | None = None


@dataclass(frozen=True)
class Coverage:
    """How much of the images is background, in shares and latent cells: shown, so that no mask is ignored unseen."""

    mean: float
    least: float
    most: float
    fewest_cells: float
    thinnest: str


class TrainingData:
    """Pairs, winners and conditions of a snapshot, and what the model's encoders make of them, on the CPU.

    What is encoded is read from `store`, keyed by the content of the images and prompts, the windows they are cropped
    by and the fingerprints of the encoders (`prints`; by default of those that `backbone` holds). `shown` are further
    conditions whose texts are wanted. `encode` loads the encoders that it needs and fills in what is missing, in the
    tables' order and in batches of a fixed size; a batch is kept whole or not at all, so that a build that was cut
    short goes on to the same bits.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        backbone: Backbone,
        *,
        held_out_pairs: int,
        store: ShardStore | None = None,
        encode_batch: int = 16,
        mask_pooling: Pooling = "area",
        prints: Prints | None = None,
        shown: Sequence[Condition] = (),
    ) -> None:
        self.snapshot = snapshot
        self._backbone = backbone
        self._batch = encode_batch
        self._pooling: Pooling = mask_pooling
        self._store = ShardStore(None) if store is None else store
        # families may share encoders and still make different conditionings of a picture
        self._prints = {kind: f"{backbone.family} {found}" for kind, found in (prints or prints_of(backbone)).items()}
        self._shown = list(shown)
        self.pairs: list[Pair] = snapshot.pairs_of("train")
        self.held_out: list[Pair] = snapshot.pairs_of("validation")[:held_out_pairs]
        self.winners = _winners(snapshot, "train")
        self.winners_of: dict[str, list[Winner]] = defaultdict(list)
        for winner in self.winners:
            self.winners_of[winner.condition_id].append(winner)
        self._pixels = lru_cache(maxsize=DECODED)(self._load)
        self.subject = lru_cache(maxsize=DECODED)(self._subject)
        used = {item.condition_id for item in (*self.pairs, *self.held_out, *self.winners)}
        self.conditions = [row for row in snapshot.conditions if row.condition_id in used]

    # --- building ---------------------------------------------------------------------------------------------------

    def encode(
        self, crops: Iterable[Crop] = (), progress: Progress | None = None, processes: Processes = ALONE
    ) -> None:
        """Encode the texts, conditions and images of training and validation, and these crops of CAPO.

        `progress(done, total)` is called before the first batch and after each one, where anything is missing. Several
        processes share the batches out, and report each round of theirs together. Raises SnapshotError for images of a
        size that the model cannot take.
        """
        check_sizes(self.snapshot.conditions, self._backbone.pixel_multiple)
        batches = list(self._batches(crops))
        # Another run may write into the folder meanwhile: the first process's word holds, or their rounds would differ.
        missing = set(processes.once(lambda: self._store.missing(item.key for batch in batches for item in batch)))
        batches = [batch for batch in batches if any(item.key in missing for item in batch)]
        try:
            for batch in processes.in_rounds(batches, progress):
                self._have_encoders(batch[0].kind)
                self._store.put(dict(zip([item.key for item in batch], self._encoded(batch), strict=True)))
        finally:
            self._store.flush()
            self._pixels.cache_clear()
        processes.wait()
        self._store.reopen()

    def _have_encoders(self, kind: str) -> None:
        """Load what a kind of item is made by. Raises ModelError naming the cache and what it lacks."""
        needed = NEEDS.get(kind)
        if needed and not self._backbone.encoders(needed):
            place = f"The cache {self._store.folder}" if self._store.folder else "The cache"
            self._backbone.load_encoders(needed, f"{place} lacks {LACKING[needed]} of this run")

    def _batches(self, crops: Iterable[Crop]) -> Iterator[list[_Item]]:
        items = [_Item("text", self.text_key(row.condition_id), row) for row in (*self.conditions, *self._shown)]
        if self._backbone.leads_from_nothing:
            items.append(_Item("nothing", self._nothing_key(), self.conditions[0]))
        items += [_Item("condition", self.condition_key(row.condition_id), row) for row in self.conditions]
        items += [_Item("region", self.region_key(row.condition_id), row) for row in self.conditions]
        images: dict[str, Condition] = {}
        for pair in (*self.pairs, *self.held_out):
            images[pair.win] = images[pair.lose] = self.snapshot.by_id[pair.condition_id]
        for winner in self.winners:
            images[winner.image] = self.snapshot.by_id[winner.condition_id]
        items += [_Item("image", self.latent_key(path), row, path) for path, row in images.items()]
        for crop in sorted(set(crops)):
            row, window = self.snapshot.by_id[crop.condition_id], crop.window
            items.append(_Item("condition", self.condition_key(crop.condition_id, window), row, window=window))
            if crop.path not in images or crop.image_window is not None:
                key = self.latent_key(crop.path, crop.image_window)
                items.append(_Item("image", key, row, crop.path, window=crop.image_window))
        buckets: dict[object, dict[str, _Item]] = defaultdict(dict)
        for item in items:
            size = None if item.kind == "text" and not self._backbone.text_sees_image else self._size(item.row)
            buckets[item.kind, item.window is not None, size].setdefault(item.key, item)
        for bucket in buckets.values():
            waiting = list(bucket.values())
            for start in range(0, len(waiting), self._batch):
                yield waiting[start : start + self._batch]

    def _encoded(self, batch: list[_Item]) -> list[Tensors]:
        kind = batch[0].kind
        if kind == "text":
            return self._encoded_texts([item.row for item in batch])
        if kind == "nothing":
            return _unstacked(self._backbone.encode_nothing(), 1)
        if kind == "condition":
            return self._encoded_conditions(batch)
        if kind == "region":
            masks = to_mask([self._pixels(item.row.mask, "L") for item in batch])
            _, height, width = self._backbone.latent_shape(*masks.shape[2:])
            return _unstacked({REGION: pool_mask(masks, height, width, mode=self._pooling)}, len(batch))
        pixels = to_tensor([self._cropped(self._pixels(item.path, "RGB"), item.window) for item in batch])
        latents = self._backbone.encode_images(pixels).cpu()
        for item, latent in zip(batch, latents, strict=True):
            if not torch.isfinite(latent).all():
                raise SnapshotError("latent_not_finite", f"{item.path}: the encoder gives NaN for this image.")
        return _unstacked({"latent": latents}, len(batch))

    def _encoded_texts(self, rows: list[Condition]) -> list[Tensors]:
        prompts = [row.prompt for row in rows]
        if not self._backbone.text_sees_image:
            return _unstacked(self._backbone.encode_text(prompts), len(rows))
        pixels = to_tensor([self._pixels(row.image, "RGB") for row in rows])
        masks = to_mask([self._pixels(row.mask, "L") for row in rows])
        return _unstacked(self._backbone.encode_text(prompts, pixels, masks), len(rows))

    def _encoded_conditions(self, batch: list[_Item]) -> list[Tensors]:
        rows = [item.row for item in batch]
        windows = [item.window for item in batch]
        images = [
            self._pixels(row.image, "RGB") if window is None else self._masked_pixels(row)
            for row, window in zip(rows, windows, strict=True)
        ]
        masks = to_mask([self._cropped(self._pixels(r.mask, "L"), w) for r, w in zip(rows, windows, strict=True)])
        pixels = to_tensor([self._cropped(image, window) for image, window in zip(images, windows, strict=True)])
        return _unstacked(self._backbone.encode_condition(pixels, masks), len(batch))

    # --- pixels -----------------------------------------------------------------------------------------------------

    def _load(self, path: str, mode: str) -> Pixels:
        return load_pixels(self.snapshot.path(path), mode, path)

    def _cropped(self, pixels: Pixels, window: Window | None) -> Pixels:
        return pixels if window is None else crop_and_scale(pixels, window)

    def _masked_pixels(self, row: Condition) -> Pixels:
        """A condition's image with the family's fill for background: what may be cropped without showing the target."""
        background = (self._pixels(row.mask, "L") >= 128)[..., None]
        fill = np.uint8(round((self._backbone.fill + 1) * 127.5))
        return np.where(background, fill, self._pixels(row.image, "RGB"))

    def _subject(self, condition_id: str) -> SubjectMask:
        """Where a condition's subject is, for drawing windows."""
        return SubjectMask(self._pixels(self.snapshot.by_id[condition_id].mask, "L"))

    # --- keys -------------------------------------------------------------------------------------------------------

    def _content(self, path: str) -> str:
        return self.snapshot.manifest.files[path].sha256

    def text_key(self, condition_id: str) -> str:
        """The key of a condition's text: of its prompt, and of what else the text encoder sees."""
        row = self.snapshot.by_id[condition_id]
        seen = (self._content(row.image), self._content(row.mask)) if self._backbone.text_sees_image else ()
        return content_key("text", self._prints["text"], row.prompt, *seen)

    def _nothing_key(self) -> str:
        return content_key("nothing", self._prints["text"])

    def latent_key(self, path: str, window: Window | None = None) -> str:
        """The key of an image's latents, whole or inside a window."""
        return content_key("image", self._prints["vae"], self._content(path), window)

    def condition_key(self, condition_id: str, window: Window | None = None) -> str:
        """The key of a condition's conditioning, whole or inside a window."""
        row = self.snapshot.by_id[condition_id]
        return content_key("condition", self._prints["vae"], self._content(row.image), self._content(row.mask), window)

    def region_key(self, condition_id: str) -> str:
        """The key of a condition's region: of its mask, the latent grid and how it is brought there."""
        row = self.snapshot.by_id[condition_id]
        grid = self._backbone.latent_shape(row.height, row.width)[1:]
        return content_key("region", self._content(row.mask), grid, self._pooling)

    # --- what was encoded -------------------------------------------------------------------------------------------

    def latent(self, path: str, window: Window | None = None) -> Tensor:
        """Latents [C,h,w] of an image, whole or inside a window."""
        return self._store[self.latent_key(path, window)]["latent"]

    def condition(self, condition_id: str, window: Window | None = None) -> Tensors:
        """Conditioning of a condition, without batch axis."""
        return self._store[self.condition_key(condition_id, window)]

    def region(self, condition_id: str) -> Tensor:
        """Background weights [1,h,w] of a condition."""
        return self._store.one(self.region_key(condition_id), REGION)

    def text(self, condition_id: str) -> Tensors:
        """Text conditioning of a condition's prompt, without batch axis."""
        return self._store[self.text_key(condition_id)]

    def nothing(self) -> Tensors:
        """Text conditioning [1,...] of what guidance leads away from; empty where that is no text of its own."""
        if not self._backbone.leads_from_nothing:
            return {}
        return {name: value.unsqueeze(0) for name, value in self._store[self._nothing_key()].items()}

    def size(self, condition_id: str) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._size(self.snapshot.by_id[condition_id])

    def _size(self, row: Condition) -> tuple[int, int]:
        return row.height, row.width

    def coverage(self) -> Coverage:
        """Background shares over all conditions in use."""
        regions = [self.region(row.condition_id) for row in self.conditions]
        shares = [float(region.mean()) for region in regions]
        cells = [min(float(region.sum()), float((1 - region).sum())) for region in regions]
        thinnest = self.conditions[cells.index(min(cells))].condition_id
        return Coverage(float(np.mean(shares)), min(shares), max(shares), min(cells), thinnest)


def check_sizes(conditions: Iterable[Condition], multiple: int) -> None:
    """Raise SnapshotError naming the first row of conditions.parquet (from 0) whose sides are no multiples of so many
    pixels."""
    for index, row in enumerate(conditions):
        if row.width % multiple or row.height % multiple:
            sizes = zip(fitting_sides(row.width, multiple), fitting_sides(row.height, multiple), strict=True)
            near = [f"{width}x{height}" for width, height in sizes if width and height]
            raise SnapshotError(
                "size_multiple",
                f"conditions.parquet row {index} ({row.condition_id}): {row.width}x{row.height} pixels, but this model "
                f"needs multiples of {multiple}: resize or crop to {' or '.join(near)} before importing.",
            )


def fitting_sides(side: int, multiple: int) -> tuple[int, int]:
    """The multiples of `multiple` next to a side in pixels: at most as large (0 for less than one), and at least."""
    return side // multiple * multiple, -(-side // multiple) * multiple


def _unstacked(tensors: Tensors, count: int) -> list[Tensors]:
    return [{name: value[index] for name, value in tensors.items()} for index in range(count)]


def _winners(snapshot: Snapshot, split: Split) -> list[Winner]:
    """The winner groups; for an image size of which there is none, the winners of its pairs."""

    def size(condition_id: str) -> tuple[int, int]:
        return snapshot.by_id[condition_id].width, snapshot.by_id[condition_id].height

    winners = snapshot.winners_of(split)
    held = {size(winner.condition_id) for winner in winners}
    seen: dict[str, Winner] = {}
    for pair in snapshot.pairs_of(split):
        if size(pair.condition_id) not in held:
            seen.setdefault(pair.win, Winner(pair.condition_id, pair.win, pair.win_candidate, pair.p_win))
    return [*winners, *seen.values()]
