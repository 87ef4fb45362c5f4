"""The UNets of the small Stable Diffusion pipelines, and their schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.backbones.debug.parts import HEADS, seeded, stir

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

LATENTS = 4
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
"""Stable Diffusion's."""


def inpainting_unet(text_dim: int, **settings: Any) -> UNet2DConditionModel:
    """A UNet of two levels with nine input channels; `settings` are those of SDXL where it differs."""
    from diffusers import UNet2DConditionModel

    def make() -> UNet2DConditionModel:
        return UNet2DConditionModel(
            sample_size=64, in_channels=2 * LATENTS + 1, out_channels=LATENTS, layers_per_block=1,
            block_out_channels=(16, 32), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=4, attention_head_dim=HEADS,
            cross_attention_dim=text_dim, **settings,
        )  # fmt: skip

    unet = seeded(4, make)
    stir(unet, 5)
    return unet
