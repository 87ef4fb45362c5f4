"""What a base is made of, from its configs alone: a folder's, the hub's, or those that are known by heart."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.backbones.families import Base, Family, family_of, resolve_base
from trainer.contract.errors import ModelError

CONFIG_FILES = [
    "model_index.json",
    "*/config.json",
    "*/scheduler_config.json",
    "*/tokenizer_config.json",
    "config.json",
]
TRAINED_OR_SEEN = ("transformer", "unet", "controlnet", "vae", "scheduler")
"""Parts whose configs a plan needs in full; of the others only their number of parameters."""

CONTROLNETS: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "flux_controlnet": (("trainer.backbones.flux_controlnet_pipeline", "FluxInpaintControlNet"), {}),
    "sd3_controlnet": (("diffusers", "SD3ControlNetModel"), {"extra_conditioning_channels": 1}),
}
"""Class of a family's ControlNet, and what the family says beside its config."""


@dataclass(frozen=True)
class Part:
    """A part of a pipeline: library and class as model_index.json names them, and its config."""

    library: str
    kind: str
    config: dict[str, Any]

    def load_class(self) -> Any:
        return getattr(importlib.import_module(self.library), self.kind)


@dataclass(frozen=True)
class Architecture:
    """`parts` by name; `encoders` are the numbers of parameters of the text encoders; `words` the tokens of a prompt by
    tokenizer."""

    family: Family
    parts: dict[str, Part]
    encoders: dict[str, int] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)


def architecture_of(base: str, revision: str | None = None) -> Architecture:
    """The architecture of a base as a config names it; no weights are read or fetched.

    Raises ModelError where neither a folder nor the hub nor the list of known bases has its configs.
    """
    from trainer.planning.known import KNOWN

    if base in KNOWN:
        return KNOWN[base]()
    found = resolve_base(base)
    folders = Base(_configs(found.path, revision), found.controlnet and _configs(found.controlnet, None))
    return _read(folders, family_of(folders))


def _configs(place: str, revision: str | None) -> str:
    if Path(place).is_dir():
        return place
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(place, revision=revision, allow_patterns=CONFIG_FILES))
    except Exception as error:
        raise ModelError(
            "model_missing", f"The configs of {place} cannot be had from the hub, so nothing can be planned: {error}"
        ) from error


def _read(base: Base, family: Family) -> Architecture:
    folder = Path(base.path)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    parts: dict[str, Part] = {}
    encoders: dict[str, int] = {}
    words: dict[str, int] = {}
    for name, entry in index.items():
        if not isinstance(entry, list) or entry[0] is None:
            continue
        if name in TRAINED_OR_SEEN:
            parts[name] = Part(*entry, _json(folder / name, "config.json", "scheduler_config.json"))
        elif name.startswith("text_encoder"):
            encoders[name] = _parameters(Part(*entry, _json(folder / name, "config.json")))
        elif name.startswith("tokenizer"):
            words[name] = int(_json(folder / name, "tokenizer_config.json").get("model_max_length", 77))
    if base.controlnet:
        place, values = CONTROLNETS[family.name]
        parts["controlnet"] = Part(*place, _json(Path(base.controlnet), "config.json") | values)
    return Architecture(family, parts, encoders, words)


def _json(folder: Path, *names: str) -> dict[str, Any]:
    for name in names:
        if (folder / name).is_file():
            found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
            return found
    raise ModelError("model_missing", f"{folder} holds no {names[0]}, so it is no part of a pipeline.")


def _parameters(part: Part) -> int:
    import torch

    kind = part.load_class()
    with torch.device("meta"):
        model = kind(kind.config_class.from_dict(part.config))
    return sum(parameter.numel() for parameter in model.parameters())
