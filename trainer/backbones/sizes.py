"""Sizes of a pipeline from the headers of its files: nothing is loaded, torch is not needed."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from trainer.backbones.layers import select_layers
from trainer.contract.errors import ModelError

PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2")


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in the safetensors files of a folder."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(length))
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return shapes


def sizes_from_files(pipeline: Path, rank: int, targets: str) -> dict[str, int]:
    """Numbers of parameters by part, and of the adapter that a LoRA of `rank` on `targets` would have.

    Raises ModelError when the folder holds no pipeline.
    """
    if not (pipeline / "model_index.json").is_file():
        raise ModelError("model_missing", f"The folder {pipeline} holds no model_index.json, so it is no pipeline.")
    sizes = {part: sum(math.prod(s) for s in shapes_of(pipeline / part).values()) for part in PARTS}
    shapes = shapes_of(pipeline / "transformer")
    linear = {n.removesuffix(".weight"): s for n, s in shapes.items() if n.endswith(".weight") and len(s) == 2}
    sizes["adapter"] = sum(rank * sum(linear[name]) for name in select_layers(linear, targets))
    return sizes
