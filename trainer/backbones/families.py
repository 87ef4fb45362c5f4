"""The model families: their names, the pipelines that mean them, and where their code is. Torch-free.

A base is named by `spatialworld`, by `<family>_debug` (a tiny random-weight pipeline, built where it is missing), by a
local folder in diffusers format or by a hub id. A family with a ControlNet is named as `base+controlnet`, each a folder
or a hub id; neither may hold a plus sign.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.pipeline import PipelineBackbone

SPATIALWORLD = "spatialworld"
DEBUG_SUFFIX = "_debug"


@dataclass(frozen=True, slots=True)
class Family:
    """A family: its backbone class stands in `trainer.backbones.<name>`, its debug variant in `.debug.<name>`."""

    name: str
    backbone: str
    pipelines: tuple[str, ...]
    """Pipeline classes that a base's model_index.json may name."""
    controlnets: tuple[str, ...] = ()
    """Classes that the config.json of its ControlNet may name, where the family needs one."""

    def load_class(self) -> type[PipelineBackbone]:
        """The backbone class; imports torch and diffusers."""
        found: Any = getattr(importlib.import_module(f"trainer.backbones.{self.name}"), self.backbone)
        return found  # type: ignore[no-any-return]  # by the table below


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("flux_fill", "FluxFillBackbone", ("FluxFillPipeline",)),
        Family("flux_controlnet", "FluxControlNetBackbone", ("FluxPipeline", "FluxControlNetPipeline"),
               ("FluxControlNetModel", "FluxInpaintControlNet")),
        Family("sd_inpaint", "SDInpaintBackbone", ("StableDiffusionInpaintPipeline",)),
        Family("sdxl_inpaint", "SDXLInpaintBackbone", ("StableDiffusionXLInpaintPipeline",)),
        Family("sd3_controlnet", "SD3ControlNetBackbone",
               ("StableDiffusion3Pipeline", "StableDiffusion3ControlNetInpaintingPipeline"), ("SD3ControlNetModel",)),
        Family("qwen_image_edit", "QwenImageEditBackbone", ("QwenImageEditPipeline",)),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Base:
    """A base resolved: a folder or hub id, and its ControlNet's where there is one."""

    path: str
    controlnet: str | None = None


def resolve_base(base: str) -> Base:
    """The folders or hub ids that a base's name means. Raises ModelError for a folder that holds no model."""
    if base == SPATIALWORLD:
        from trainer.spatialworld import pipeline_path

        try:
            return Base(str(pipeline_path()))
        except FileNotFoundError as error:
            raise ModelError("model_missing", str(error)) from error
    if base.endswith(DEBUG_SUFFIX) and base.removesuffix(DEBUG_SUFFIX) in FAMILIES:
        from trainer.backbones.debug import debug_folder

        family = FAMILIES[base.removesuffix(DEBUG_SUFFIX)]
        folder = debug_folder(family.name)
        return Base(str(folder), str(folder / "controlnet") if family.controlnets else None)
    path, plus, controlnet = base.partition("+")
    if plus and not controlnet:
        raise ModelError("base_invalid", f"The base {base!r} names no ControlNet behind its plus sign.")
    return Base(_place(path, "model_index.json"), _place(controlnet, "config.json") if plus else None)


def _place(name: str, file: str) -> str:
    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not (folder / file).is_file():
        raise ModelError("model_missing", f"The folder {name} holds no {file}, so it is no model in diffusers format.")
    return str(folder) if folder.is_dir() else name


def family_of(base: Base, revision: str | None = None) -> Family:
    """The family of a base by the pipeline class in its model_index.json.

    Raises ModelError where the class belongs to none, or a ControlNet is missing, one too many or of another family.
    """
    name = _class_of(base.path, "model_index.json", revision)
    fitting = [family for family in FAMILIES.values() if name in family.pipelines]
    found = next((family for family in fitting if bool(family.controlnets) == (base.controlnet is not None)), None)
    if found:
        if base.controlnet and (kind := _class_of(base.controlnet, "config.json", None)) not in found.controlnets:
            raise ModelError("controlnet_other", f"{base.controlnet} is a {kind}, which does not fit a {name}.")
        return found
    if fitting and base.controlnet is None:
        raise ModelError(
            "controlnet_missing",
            f"{base.path} is a {name}, which inpaints by a ControlNet only: name the base as {base.path}+CONTROLNET.",
        )
    if fitting:
        raise ModelError("controlnet_unused", f"{base.path} is a {name}, which takes no ControlNet: leave it out.")
    known = ", ".join(sorted({pipeline for family in FAMILIES.values() for pipeline in family.pipelines}))
    raise ModelError("family_unknown", f"{base.path} is a {name}; those that can be tuned are: {known}.")


def _class_of(path: str, name: str, revision: str | None) -> str:
    """The class that a model's config names; `name` is that config's file."""
    file = Path(path) / name
    try:
        if file.is_file():
            config = json.loads(file.read_text(encoding="utf-8"))
        else:
            from diffusers import ControlNetModel, DiffusionPipeline

            reader: Any = DiffusionPipeline if name == DiffusionPipeline.config_name else ControlNetModel
            config = reader.load_config(path, revision=revision)
        return str(config["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError("model_unloadable", f"The base model {path!r} cannot be loaded: {first}") from error
