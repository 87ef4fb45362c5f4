"""Stable Diffusion XL inpainting in small."""

from __future__ import annotations

from pathlib import Path

from trainer.backbones.debug.parts import TEXT_DIM, autoencoder, clip_encoder, clip_tokenizer
from trainer.backbones.debug.unet import LATENTS, SCHEDULE, inpainting_unet

TIME_DIM = 8


def build(folder: Path) -> None:
    """Save the pipeline."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLInpaintPipeline

    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer()
    StableDiffusionXLInpaintPipeline(
        vae=autoencoder(1, channels=LATENTS, scaling=0.13025, quant_conv=True),
        text_encoder=clip_encoder(2, tokenizer),
        text_encoder_2=clip_encoder(3, tokenizer_2, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=inpainting_unet(
            2 * TEXT_DIM,
            addition_embed_type="text_time",
            addition_time_embed_dim=TIME_DIM,
            projection_class_embeddings_input_dim=6 * TIME_DIM + TEXT_DIM,
            use_linear_projection=True,
            transformer_layers_per_block=(1, 2),
        ),
        scheduler=EulerDiscreteScheduler(**SCHEDULE),
        add_watermarker=False,
    ).save_pretrained(folder)
