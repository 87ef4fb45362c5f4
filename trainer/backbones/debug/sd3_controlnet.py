"""Stable Diffusion 3 and an inpainting ControlNet for it in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.backbones.debug.parts import (
    HEADS,
    TEXT_DIM,
    autoencoder,
    clip_encoder,
    clip_tokenizer,
    seeded,
    stir,
    t5_encoder,
    word_tokenizer,
)

LATENTS = 16
CLIP_DIMS = (TEXT_DIM // 2, TEXT_DIM // 2)
"""Side by side the two CLIP texts must not be wider than T5's."""
SHAPE: dict[str, Any] = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": LATENTS,
    "out_channels": LATENTS,
    "attention_head_dim": 16,
    "num_attention_heads": HEADS,
    "joint_attention_dim": TEXT_DIM,
    "caption_projection_dim": 16 * HEADS,
    "pooled_projection_dim": sum(CLIP_DIMS),
    "pos_embed_max_size": 24,
}
"""What transformer and ControlNet have in common; canvases may have 4 * 24 latent cells a side at most."""


def build(folder: Path, *, t5: bool = True) -> None:
    """Save the pipeline, and the ControlNet in its subfolder; `t5=False` leaves the third text encoder out."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3ControlNetModel,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    transformer = seeded(5, lambda: SD3Transformer2DModel(num_layers=2, **SHAPE))
    controlnet = seeded(6, lambda: SD3ControlNetModel(num_layers=1, extra_conditioning_channels=1, **SHAPE))
    stir(transformer, 7)
    stir(controlnet, 8)
    tokenizer, tokenizer_3 = clip_tokenizer(), word_tokenizer()
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(1, channels=LATENTS, scaling=1.5305, shift=0.0609),
        text_encoder=clip_encoder(2, tokenizer, projected=True, dim=CLIP_DIMS[0]),
        tokenizer=tokenizer,
        text_encoder_2=clip_encoder(3, tokenizer, projected=True, dim=CLIP_DIMS[1]),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_encoder(4, tokenizer_3) if t5 else None,
        tokenizer_3=tokenizer_3 if t5 else None,
    ).save_pretrained(folder)
    controlnet.save_pretrained(folder / "controlnet")
