"""FLUX.1 with an inpainting ControlNet in alimama's layout (see `trainer.backbones.flux_controlnet_pipeline`).

The transformer's LoRA is trained; the ControlNet stays as it is and runs without gradient, at full strength.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from trainer.backbones.flux import FluxBackbone
from trainer.backbones.flux_controlnet_pipeline import (
    BLACK,
    MASK_CHANNELS,
    FluxControlNetInpaintingPipeline,
    FluxInpaintControlNet,
)
from trainer.backbones.pipeline import in_order, numbered
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.families import Base
    from trainer.backbones.protocol import Tensors

DOUBLE, SINGLE = "double block ", "single block "


class FluxControlNetBackbone(FluxBackbone):
    """A FLUX pipeline and its ControlNet behind the protocol; the mask is turned over here: 1 = kept."""

    family: ClassVar[str] = "flux_controlnet"
    pipeline_class: ClassVar[type[DiffusionPipeline]] = FluxControlNetInpaintingPipeline
    fill: ClassVar[float] = BLACK

    def __init__(self, pipeline: Any, device: torch.device | str = "cpu", compute: torch.dtype = torch.float32) -> None:
        super().__init__(pipeline, device, compute)
        self.controlnet: Any = pipeline.controlnet

    @classmethod
    def open(cls, base: Base, *, revision: str | None, dtype: torch.dtype, **parts: Any) -> Any:
        """The base with its ControlNet; `revision` is the base's. Raises ModelError for a ControlNet without mask."""
        try:
            if "controlnet" not in parts:
                parts["controlnet"] = FluxInpaintControlNet.from_pretrained(base.controlnet, dtype=dtype)
        except (ValueError, RuntimeError) as error:
            if "controlnet_x_embedder" not in str(error):
                raise
            raise ModelError(
                "not_for_inpainting",
                f"The ControlNet {base.controlnet} does not take {MASK_CHANNELS} packed channels of a mask beside the "
                "image's latents: it cannot inpaint.",
            ) from error
        return super().open(base, revision=revision, dtype=dtype, **parts)

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        mask = (mask.to(self.device) >= 0.5).float()
        masked = self.encode_images(torch.where(mask > 0, torch.tensor(BLACK), pixels.to(self.device)))
        kept = 1 - nn.functional.interpolate(mask, size=masked.shape[2:])
        return {"tokens": torch.cat((self.pack(masked), self.pack(kept)), dim=-1)}

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        dtype = self.denoiser.dtype
        if not any(name.startswith((DOUBLE, SINGLE)) for name in condition):
            condition = condition | self.residuals(noisy, t, condition, text, guidance)
        with self.autocast():
            predicted = self.denoiser(
                hidden_states=self.pack(noisy).to(dtype),
                controlnet_block_samples=in_order(DOUBLE, condition, dtype) or None,
                controlnet_single_block_samples=in_order(SINGLE, condition, dtype) or None,
                **self.inputs(self.denoiser, noisy, t, text, guidance),
            )[0]
        return self.unpack(predicted, *noisy.shape[2:])

    @torch.no_grad()  # nothing before it or in it is trained
    def residuals(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensors:
        """What the ControlNet adds behind the transformer's double and single blocks."""
        dtype = self.controlnet.dtype
        with self.autocast():
            double, single = self.controlnet(
                hidden_states=self.pack(noisy).to(dtype),
                controlnet_cond=condition["tokens"].to(dtype),
                **self.inputs(self.controlnet, noisy, t, text, guidance),
            )
        return numbered(DOUBLE, double) | numbered(SINGLE, single)
