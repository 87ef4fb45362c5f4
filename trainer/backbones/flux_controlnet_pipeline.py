"""FLUX with a ControlNet for inpainting in alimama's layout, as a diffusers pipeline.

diffusers' own FluxControlNetModel has no channels for a mask. This one takes what alimama-creative's inpainting
ControlNets for FLUX.1-dev were trained with: 16 latent channels of the masked image and one of the mask, 17 in all,
packed from 2x2 cells into tokens of 68. The mask is 1 where the image is *kept*; elsewhere the masked image is black.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxControlNetModel, FluxControlNetPipeline
from diffusers.configuration_utils import register_to_config
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor, nn

BLACK = -1.0
MASK_CHANNELS = 4
"""The mask's, packed from 2x2 cells."""


class FluxInpaintControlNet(FluxControlNetModel):
    """A FluxControlNetModel whose condition has `extra_condition_channels` more channels, packed, for the mask."""

    @register_to_config
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 64,
        num_layers: int = 19,
        num_single_layers: int = 38,
        attention_head_dim: int = 128,
        num_attention_heads: int = 24,
        joint_attention_dim: int = 4096,
        pooled_projection_dim: int = 768,
        guidance_embeds: bool = False,
        axes_dims_rope: tuple[int, ...] = (16, 56, 56),
        extra_condition_channels: int = MASK_CHANNELS,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            in_channels=in_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            pooled_projection_dim=pooled_projection_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=list(axes_dims_rope),
        )
        self.controlnet_x_embedder = nn.Linear(in_channels + extra_condition_channels, self.inner_dim)
        self.kept: Tensor | None = None

    def forward(self, hidden_states: Tensor, controlnet_cond: Tensor, *args: Any, **kwargs: Any) -> Any:
        """`controlnet_cond` [B,N,68], or [B,N,64] while a pipeline has set `kept` [B or 1,N,4]."""
        if self.kept is not None:
            kept = self.kept.to(controlnet_cond).expand(len(controlnet_cond), -1, -1)
            controlnet_cond = torch.cat((controlnet_cond, kept), dim=-1)
        return super().forward(hidden_states, controlnet_cond, *args, **kwargs)


class FluxControlNetInpaintingPipeline(FluxControlNetPipeline):
    """FluxControlNetPipeline that takes `control_mask` (white = made anew) beside `control_image`.

    Load it from a FLUX pipeline with `controlnet=FluxInpaintControlNet.from_pretrained(...)`.
    """

    @torch.no_grad()
    def __call__(
        self, *args: Any, control_image: Any, control_mask: Any, height: int, width: int, **kwargs: Any
    ) -> Any:
        """As FluxControlNetPipeline; image and mask are PIL images, arrays or tensors in [0,1]."""
        binary = VaeImageProcessor(
            vae_scale_factor=2 * self.vae_scale_factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )
        mask = binary.preprocess(control_mask, height=height, width=width)
        image = self.image_processor.preprocess(control_image, height=height, width=width)
        masked = torch.where(mask > 0.5, torch.tensor(BLACK), image)
        self.controlnet.kept = self._pack_kept(mask)
        try:
            return super().__call__(*args, control_image=masked, height=height, width=width, **kwargs)
        finally:
            self.controlnet.kept = None

    def _pack_kept(self, mask: Tensor) -> Tensor:
        size = (mask.shape[2] // self.vae_scale_factor, mask.shape[3] // self.vae_scale_factor)
        kept = 1 - nn.functional.interpolate(mask, size=size)
        return self._pack_latents(kept, len(kept), 1, *size)
