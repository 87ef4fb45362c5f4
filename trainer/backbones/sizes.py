"""Sizes of a pipeline from the headers of its files: nothing is loaded, torch is not needed."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from trainer.backbones.families import Base
from trainer.backbones.layers import select_layers
from trainer.contract.errors import ModelError

DENOISERS = ("transformer", "unet")


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in the safetensors files of a folder."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(length))
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return shapes


def sizes_from_files(base: Base, rank: int, targets: str) -> dict[str, int]:
    """Numbers of parameters by part, and of the adapter that a LoRA of `rank` on `targets` would have.

    Raises ModelError when the folder holds no pipeline, or one without transformer or UNet.
    """
    folder = Path(base.path)
    if not (folder / "model_index.json").is_file():
        raise ModelError("model_missing", f"The folder {folder} holds no model_index.json, so it is no pipeline.")
    parts = {part.name: part for part in sorted(folder.iterdir()) if part.is_dir()}
    if base.controlnet:
        parts["controlnet"] = Path(base.controlnet)
    shapes = {name: found for name, part in parts.items() if (found := shapes_of(part))}
    denoiser = next((shapes[name] for name in DENOISERS if name in shapes), None)
    if denoiser is None:
        raise ModelError("model_missing", f"The folder {folder} holds neither a transformer nor a UNet.")
    linear = {n.removesuffix(".weight"): s for n, s in denoiser.items() if n.endswith(".weight") and len(s) == 2}
    sizes = {name: sum(math.prod(shape) for shape in found.values()) for name, found in shapes.items()}
    sizes["adapter"] = sum(rank * sum(linear[name]) for name in select_layers(linear, targets))
    return sizes
