"""Stable Diffusion XL inpainting: two text encoders, pooled text, and the image's size as further conditioning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLInpaintPipeline
from torch import Tensor, nn

from trainer.backbones.unet import UNetInpaintBackbone

if TYPE_CHECKING:
    from trainer.backbones.protocol import Tensors

NO_CROP = (0, 0)
"""What the pipeline says of crops when it samples, so that CAPO's crops say the same."""


class SDXLInpaintBackbone(UNetInpaintBackbone):
    """A StableDiffusionXLInpaintPipeline behind the protocol."""

    family: ClassVar[str] = "sdxl_inpaint"
    pipeline_class: ClassVar[type[DiffusionPipeline]] = StableDiffusionXLInpaintPipeline
    encoder_names: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")

    def settle(self, name: str, part: nn.Module) -> None:
        super().settle(name, part)
        if name == "vae" and self.vae_config.force_upcast:  # it overflows in half precision
            part.float()

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], pixels: Tensor | None = None, mask: Tensor | None = None) -> Tensors:
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        return {"embeds": embeds, "pooled": pooled}

    def encode_nothing(self) -> Tensors:
        nothing = self.encode_text([""])
        if self.pipeline.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(value) for name, value in nothing.items()}
        return nothing

    def added(self, text: Tensors, noisy: Tensor) -> Tensors:
        """Pooled text, and time ids: original size, crop's corner, target size, all in pixels."""
        size = (noisy.shape[2] * self.scale, noisy.shape[3] * self.scale)
        ids = torch.tensor([[*size, *NO_CROP, *size]], dtype=self.denoiser.dtype, device=self.device)
        return {"text_embeds": text["pooled"].to(self.denoiser.dtype), "time_ids": ids.expand(len(noisy), -1)}
