"""Which images of a request lie in its folder already, and whether they are what it asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.backbones.families import resolve_base
from trainer.contract.checkpoint import lora_file
from trainer.contract.errors import ConfigError, SnapshotError
from trainer.contract.files import sha256_bytes, sha256_file
from trainer.contract.sampling import GeneratorSpec, SampleItem, read_results

WAY_OUT = "take a new folder, or remove it."


def generator_hash(spec: GeneratorSpec) -> str:
    """SHA-256 of where the base lies, the bytes of the adapter, and everything else that the spec says.

    Raises ModelError for a base or adapter that is not there.
    """
    base = resolve_base(spec.base)
    parts = [
        str(Path(part).resolve()) if Path(part).is_dir() else part for part in (base.path, base.controlnet) if part
    ]
    adapter = sha256_file(lora_file(Path(spec.adapter))) if spec.adapter else None
    return _hash(spec.model_dump(mode="json") | {"base": parts, "adapter": adapter})


def item_hash(item: SampleItem) -> str:
    """SHA-256 of an item's seed, prompt and spec and of the bytes of its image and mask; its key does not enter.

    Raises SnapshotError for a file that is missing.
    """
    files = {
        name: _file_hash(path, f"item {item.key}, {name}")
        for name, path in (("image", item.image), ("mask", item.mask))
    }
    return _hash(item.model_dump(mode="json", exclude={"key"}) | files)


def _file_hash(path: Path, place: str) -> str:
    try:
        return sha256_file(path)
    except FileNotFoundError:
        raise SnapshotError("image_missing", f"{place}: the image file is missing.") from None


def _hash(values: dict[str, Any]) -> str:
    return sha256_bytes(json.dumps(values, sort_keys=True).encode())


def kept_keys(out: Path, made_by: str, made_of: dict[str, str]) -> set[str]:
    """Keys of the images in `out`, all of them by the generator `made_by` and of the items `made_of` (by key).

    Raises ConfigError where an image is of another generator, of an item that has changed, or of unknown origin.
    """
    last = {result.key: result for result in read_results(out)[0] if (out / result.image).is_file()}
    for key, result in last.items():
        if result.made_by is None or result.made_of is None:
            raise ConfigError(
                "origin_unknown",
                f"{out} holds images of an earlier version, which did not record what they were made from: {WAY_OUT}",
            )
        if result.made_by != made_by:
            raise ConfigError("generator_changed", f"{out} holds images of another generator or sampler: {WAY_OUT}")
        if made_of.get(key, result.made_of) != result.made_of:
            raise ConfigError(
                "item_changed", f"{out} holds an image {key} of another seed, prompt or condition: {WAY_OUT}"
            )
    return set(last)
