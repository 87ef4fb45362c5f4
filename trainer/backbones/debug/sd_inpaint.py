"""Stable Diffusion inpainting in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.backbones.debug.parts import TEXT_DIM, autoencoder, clip_encoder, clip_tokenizer
from trainer.backbones.debug.unet import LATENTS, SCHEDULE, inpainting_unet


def build(folder: Path, prediction_type: str = "epsilon") -> None:
    """Save the pipeline; `prediction_type` is epsilon as in version 1.5, or v_prediction."""
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    tokenizer = clip_tokenizer()
    scheduler: dict[str, Any] = {**SCHEDULE, "clip_sample": False, "set_alpha_to_one": False}
    StableDiffusionInpaintPipeline(
        vae=autoencoder(1, channels=LATENTS, scaling=0.18215, quant_conv=True),
        text_encoder=clip_encoder(2, tokenizer),
        tokenizer=tokenizer,
        unet=inpainting_unet(TEXT_DIM),
        scheduler=DDIMScheduler(**scheduler, prediction_type=prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
