"""The parts of a small FLUX pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

LATENTS = 16
PACKED = 4 * LATENTS
SHAPE: dict[str, Any] = {
    "attention_head_dim": 16,
    "num_attention_heads": HEADS,
    "joint_attention_dim": TEXT_DIM,
    "pooled_projection_dim": TEXT_DIM,
    "axes_dims_rope": (4, 6, 6),
}
"""What transformer and ControlNet have in common."""


def flux_parts() -> dict[str, Any]:
    """Everything of a FLUX pipeline but its transformer; latents have 16 channels and a quarter of the side."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    tokenizer, tokenizer_2 = clip_tokenizer(), word_tokenizer()
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": autoencoder(1, channels=LATENTS, scaling=0.3611, shift=0.1159),
        "text_encoder": clip_encoder(2, tokenizer),
        "tokenizer": tokenizer,
        "text_encoder_2": t5_encoder(3, tokenizer_2),
        "tokenizer_2": tokenizer_2,
    }


def flux_transformer(in_channels: int, *, guidance: bool) -> FluxTransformer2DModel:
    """A transformer of one double and one single block."""
    from diffusers import FluxTransformer2DModel

    def make() -> FluxTransformer2DModel:
        return FluxTransformer2DModel(
            in_channels=in_channels, out_channels=PACKED, num_layers=1, num_single_layers=1, guidance_embeds=guidance,
            **SHAPE,
        )  # fmt: skip

    transformer = seeded(4, make)
    stir(transformer, 5)
    return transformer
