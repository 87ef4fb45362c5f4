"""FLUX.1 Fill and every pipeline of its shape.

The transformer's input is [noisy latents | masked latents | mask], each packed from 2x2 latent cells into tokens; the
mask keeps full resolution (its pixels are unshuffled into channels). Rectified flow: the timestep is sigma, the
target noise - clean. The layout is that of diffusers' FluxFillPipeline, whose packing is called here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from diffusers import DiffusionPipeline, FluxFillPipeline
from torch import Tensor, nn

from trainer.backbones.flux import FluxBackbone

if TYPE_CHECKING:
    from trainer.backbones.protocol import Tensors


class FluxFillBackbone(FluxBackbone):
    """A FluxFillPipeline behind the protocol; see `trainer.backbones.protocol.Backbone` for the methods' shapes."""

    family: ClassVar[str] = "flux_fill"
    pipeline_class: ClassVar[type[DiffusionPipeline]] = FluxFillPipeline

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        mask = (mask.to(self.device) >= 0.5).float()
        masked = self.encode_images(pixels.to(self.device) * (1 - mask))
        unshuffled = nn.functional.pixel_unshuffle(mask, self.scale)
        return {"tokens": torch.cat((self.pack(masked), self.pack(unshuffled)), dim=-1)}

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        dtype = self.denoiser.dtype
        with self.autocast():
            tokens = self.denoiser(
                hidden_states=torch.cat((self.pack(noisy).to(dtype), condition["tokens"].to(dtype)), dim=-1),
                **self.inputs(self.denoiser, noisy, t, text, guidance),
            )[0]
        return self.unpack(tokens, *noisy.shape[2:])
