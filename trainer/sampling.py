"""Sampling images of conditions: for `python -m trainer sample` and for the grids of a run."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer.contract.errors import ConfigError, StorageError
from trainer.contract.images import Pixels, check_mask, encode_png, load_pixels, paste_foreground
from trainer.contract.sampling import RESULTS, SampleItem, SampleRequest, SampleResult, Verdict
from trainer.contract.snapshot import Condition, Snapshot
from trainer.data.source import to_mask, to_tensor
from trainer.kept import generator_hash, item_hash, kept_keys
from trainer.noise import sampling_noise

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone, Tensors


@dataclass(frozen=True)
class Prompted:
    """A condition ready to be sampled: pixels [H,W,3], mask [H,W] (255 = background), text, seed."""

    image: Pixels
    mask: Pixels
    text: Tensors
    seed: int


def with_text(backbone: Backbone, conditions: Sequence[tuple[Pixels, Pixels, str, int]]) -> list[Prompted]:
    """Conditions (image, mask, prompt, seed) of one size with their texts encoded.

    A prompt that comes twice is read once, unless the text encoder reads the picture with it.
    """
    prompts = [prompt for _, _, prompt, _ in conditions]
    if backbone.text_sees_image:
        images, masks = [image for image, *_ in conditions], [mask for _, mask, *_ in conditions]
        text = backbone.encode_text(prompts, to_tensor(images), to_mask(masks))
        places = list(range(len(conditions)))
    else:
        distinct = sorted(set(prompts))
        text = backbone.encode_text(distinct)
        places = [distinct.index(prompt) for prompt in prompts]
    return [
        Prompted(image, mask, {name: value[place].clone() for name, value in text.items()}, seed)
        for (image, mask, _, seed), place in zip(conditions, places, strict=True)
    ]


def prompted(snapshot: Snapshot, backbone: Backbone, rows: Sequence[tuple[Condition, int]]) -> list[Prompted]:
    """Conditions of a snapshot, all of one size, each with a seed."""
    return with_text(backbone, [(*condition_pixels(snapshot, row), row.prompt, seed) for row, seed in rows])


def condition_pixels(snapshot: Snapshot, row: Condition) -> tuple[Pixels, Pixels]:
    """Image [H,W,3] and mask [H,W] of a condition."""
    image = load_pixels(snapshot.path(row.image), "RGB", row.image)
    return image, load_pixels(snapshot.path(row.mask), "L", row.mask)


@torch.no_grad()
def sample_images(
    backbone: Backbone, items: Sequence[Prompted], *, steps: int, guidance: float, paste: bool = True
) -> list[Pixels]:
    """Images [H,W,3] for conditions of one size, with the true foreground pasted unless `paste` is off.

    An item's noise depends on its seed alone, so an image does not depend on what is sampled beside it.
    """
    images, masks = to_tensor([item.image for item in items]), to_mask([item.mask for item in items])
    condition = backbone.encode_condition(images, masks)
    shape = backbone.latent_shape(*masks.shape[2:])
    noise = torch.stack([sampling_noise(shape, item.seed) for item in items])
    text = {name: torch.stack([item.text[name] for item in items]).to(backbone.device) for name in items[0].text}
    latents = backbone.sample(noise.to(backbone.device), condition, text, steps=steps, guidance=guidance)
    pixels = to_pixels(backbone.decode(latents))
    if not paste:
        return pixels
    return [paste_foreground(image, item.image, item.mask) for image, item in zip(pixels, items, strict=True)]


def to_pixels(images: Tensor) -> list[Pixels]:
    """Decoded images [B,3,H,W] in [-1, 1] as uint8 [H,W,3] each."""
    array = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [np.ascontiguousarray(image) for image in array]


def judge(
    images: Sequence[Pixels], masks: Sequence[Pixels], specs: Sequence[dict[str, Any] | None]
) -> list[Verdict | None]:
    """The exact judge's verdicts on images of SpatialWorld; None where there is no spec.

    Raises ConfigError for a spec that is none, or an image that is not of the world's size.
    """
    judged = [index for index, spec in enumerate(specs) if spec is not None]
    verdicts: list[Verdict | None] = [None] * len(specs)
    if not judged:
        return verdicts
    from trainer.spatialworld.geometry import Spec
    from trainer.spatialworld.judge import judge_many

    try:
        parsed = [Spec.from_json(specs[index] or {}) for index in judged]
        found = judge_many(np.stack([images[i] for i in judged]), np.stack([masks[i] for i in judged]), parsed)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("spec_unusable", f"SpatialWorld's judge cannot use a condition's spec: {error}.") from error
    for index, verdict in zip(judged, found, strict=True):
        verdicts[index] = Verdict(
            rational=verdict.rational, reasons=list(verdict.reasons), margin=verdict.margin, measured=verdict.measured
        )
    return verdicts


def run_request(
    request: SampleRequest,
    out: Path,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    on_batch: Callable[[int, int], None] | None = None,
) -> int:
    """Work through a request, appending to `out/results.jsonl`; keys that are there already are skipped.

    Returns how many images are still missing (0, unless `cancelled` said to stop between two batches). Raises
    ConfigError, before anything is loaded, where `out` holds images of another generator or of items that have changed,
    StorageError where `out` cannot be written.
    """
    from trainer.backbones.load import load_backbone

    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError("out_unusable", f"The folder {out} cannot be used: {error}.") from error
    made_by, made_of = generator_hash(request.generator), {item.key: item_hash(item) for item in request.items}
    done = kept_keys(out, made_by, made_of)
    missing = [item for item in request.items if item.key not in done]
    if not missing:
        return 0
    generator = request.generator
    backbone = load_backbone(generator.base, revision=generator.revision, dtype=generator.dtype)
    if generator.adapter:
        backbone.load_adapter(Path(generator.adapter), generator.adapter_scale)
    left = len(missing)
    with _Appender(out / RESULTS) as append:
        for batch in _batches(missing, request.batch_size):
            if cancelled():
                return left
            for result in _run_batch(backbone, request, batch, out):
                append(result.model_copy(update={"made_by": made_by, "made_of": made_of[result.key]}))
            left -= len(batch)
            if on_batch:
                on_batch(len(request.items) - left, len(request.items))
    return 0


def _run_batch(
    backbone: Backbone, request: SampleRequest, batch: list[tuple[SampleItem, Pixels, Pixels]], out: Path
) -> Iterator[SampleResult]:
    begun = time.monotonic()
    items = with_text(backbone, [(image, mask, item.prompt, item.seed) for item, image, mask in batch])
    sampler = request.generator.sampler
    images = sample_images(backbone, items, steps=sampler.steps, guidance=sampler.guidance)
    seconds = (time.monotonic() - begun) / len(batch)
    verdicts = judge(images, [mask for _, _, mask in batch], [item.spatialworld for item, _, _ in batch])
    for (item, _, _), image, verdict in zip(batch, images, verdicts, strict=True):
        relative = f"images/{item.key}.png"
        _write_image(out / relative, image)
        yield SampleResult(key=item.key, image=relative, seed=item.seed, seconds=seconds, verdict=verdict)


def _batches(items: list[SampleItem], size: int) -> Iterator[list[tuple[SampleItem, Pixels, Pixels]]]:
    waiting: dict[tuple[int, ...], list[tuple[SampleItem, Pixels, Pixels]]] = defaultdict(list)
    for item in items:
        image = load_pixels(item.image, "RGB", f"item {item.key}, image")
        mask = load_pixels(item.mask, "L", f"item {item.key}, mask")
        check_mask(mask, f"item {item.key}")
        if mask.shape != image.shape[:2]:
            raise ConfigError("mask_size", f"item {item.key}: its mask and its image differ in size.")
        bucket = waiting[mask.shape]
        bucket.append((item, image, mask))
        if len(bucket) == size:
            yield waiting.pop(mask.shape)
    yield from waiting.values()


def _write_image(path: Path, image: Pixels) -> None:
    staged = path.with_suffix(".part")
    try:
        staged.write_bytes(encode_png(Image.fromarray(image)))
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise StorageError("image_unwritable", f"{path.name} could not be written: {error}.") from error


class _Appender:
    """Appends results to a file, one line each, after closing a line that a crash may have cut."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Callable[[SampleResult], None]:
        self._handle = self._path.open("ab+")
        if self._handle.tell():
            self._handle.seek(-1, os.SEEK_END)
            if self._handle.read(1) != b"\n":
                self._handle.write(b"\n")
        return self._append

    def _append(self, result: SampleResult) -> None:
        self._handle.write(json.dumps(result.model_dump(mode="json")).encode() + b"\n")
        self._handle.flush()

    def __exit__(self, *_: object) -> None:
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._handle.close()
