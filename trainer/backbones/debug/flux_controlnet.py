"""FLUX.1 and an inpainting ControlNet in small."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.backbones.debug.flux import PACKED, SHAPE, flux_parts, flux_transformer
from trainer.backbones.debug.parts import seeded, stir


def build(folder: Path) -> None:
    """Save the pipeline, and the ControlNet in its subfolder, each as its own download would be."""
    from diffusers import FluxPipeline

    from trainer.backbones.flux_controlnet_pipeline import FluxInpaintControlNet

    FluxPipeline(**flux_parts(), transformer=flux_transformer(in_channels=PACKED, guidance=True)).save_pretrained(
        folder
    )
    controlnet = seeded(
        6, lambda: FluxInpaintControlNet(num_layers=1, num_single_layers=0, guidance_embeds=True, **SHAPE)
    )
    stir(controlnet, 7)
    controlnet.save_pretrained(folder / "controlnet")
    file = folder / "controlnet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": "FluxControlNetModel"}, indent=2))
