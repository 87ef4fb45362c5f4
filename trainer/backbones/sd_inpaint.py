"""Stable Diffusion 1.5 and 2 inpainting, and every pipeline of their shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import DiffusionPipeline, StableDiffusionInpaintPipeline
from torch import Tensor

from trainer.backbones.unet import UNetInpaintBackbone

if TYPE_CHECKING:
    from trainer.backbones.families import Base
    from trainer.backbones.protocol import Tensors


class SDInpaintBackbone(UNetInpaintBackbone):
    """A StableDiffusionInpaintPipeline behind the protocol."""

    family: ClassVar[str] = "sd_inpaint"
    pipeline_class: ClassVar[type[DiffusionPipeline]] = StableDiffusionInpaintPipeline

    @classmethod
    def open(cls, base: Base, *, revision: str | None, dtype: torch.dtype, **parts: Any) -> Any:
        """Without the safety checker: it looks at finished pictures and would black them out."""
        parts |= {"safety_checker": None, "requires_safety_checker": False}
        return super().open(base, revision=revision, dtype=dtype, **parts)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], pixels: Tensor | None = None, mask: Tensor | None = None) -> Tensors:
        embeds, _ = self.pipeline.encode_prompt(list(prompts), self.device, 1, False)
        return {"embeds": embeds}

    def encode_nothing(self) -> Tensors:
        return self.encode_text([""])
