"""What the FLUX families share: two text encoders, 2x2 packing, position ids, the shifted flow sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux_fill import calculate_shift, retrieve_timesteps
from torch import Tensor

from trainer.backbones.flow import RectifiedFlow
from trainer.backbones.pipeline import PipelineBackbone

if TYPE_CHECKING:
    from trainer.backbones.protocol import Tensors

LONGEST_TEXT = 512


class FluxBackbone(RectifiedFlow, PipelineBackbone, ABC):
    """A pipeline around FluxTransformer2DModel, whose packing and text encoding are called here."""

    encoder_names: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    patch: ClassVar[int] = 2

    def __init__(self, pipeline: Any, device: torch.device | str = "cpu", compute: torch.dtype = torch.float32) -> None:
        super().__init__(pipeline, device, compute)
        if self.autocasts:
            from trainer.spatialworld.attention import MixedPrecisionAttention

            self.denoiser.set_attn_processor(MixedPrecisionAttention())
        self._text_length = min(LONGEST_TEXT, int(pipeline.tokenizer_2.model_max_length))

    def reader(self) -> tuple[Any, int]:
        return self.pipeline.tokenizer_2, self._text_length

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], pixels: Tensor | None = None, mask: Tensor | None = None) -> Tensors:
        embeds, pooled, *_ = self.pipeline.encode_prompt(
            prompt=list(prompts), prompt_2=None, device=self.device, max_sequence_length=self._text_length
        )
        return {"embeds": embeds, "pooled": pooled}

    def pack(self, cells: Tensor) -> Tensor:
        """Tokens [B, h/2 w/2, 4C] of cells [B,C,h,w]."""
        batch, channels, height, width = cells.shape
        return self.pipeline._pack_latents(cells, batch, channels, height, width)

    def unpack(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Cells [B,C,h,w] of tokens, in float32."""
        return self.pipeline._unpack_latents(tokens, height * self.scale, width * self.scale, self.scale).float()

    def inputs(self, model: Any, noisy: Tensor, t: Tensor, text: Tensors, guidance: float) -> dict[str, Any]:
        """What transformer and ControlNet both take beside their hidden states, as `model` computes."""
        dtype = model.dtype
        height, width = noisy.shape[2] // 2, noisy.shape[3] // 2
        return {
            "timestep": t.to(dtype),
            "guidance": self._guidance(model, len(noisy), guidance),
            "pooled_projections": text["pooled"].to(dtype),
            "encoder_hidden_states": text["embeds"].to(dtype),
            "txt_ids": torch.zeros(text["embeds"].shape[1], 3, device=self.device, dtype=dtype),
            "img_ids": self.pipeline._prepare_latent_image_ids(len(noisy), height, width, self.device, dtype),
            "return_dict": False,
        }

    def _guidance(self, model: Any, batch: int, guidance: float) -> Tensor | None:
        """The embedded guidance [B] of a guidance-distilled model, None for others."""
        return torch.full((batch,), guidance, device=self.device) if model.config.guidance_embeds else None

    @abstractmethod
    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor: ...

    @torch.no_grad()
    def sample(self, noise: Tensor, condition: Tensors, text: Tensors, *, steps: int, guidance: float) -> Tensor:
        scheduler = self.pipeline.scheduler
        config = scheduler.config
        shift = calculate_shift(
            (noise.shape[2] // 2) * (noise.shape[3] // 2),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        sigmas = np.linspace(1.0, 1 / steps, steps)
        timesteps, _ = retrieve_timesteps(scheduler, steps, self.device, sigmas=sigmas, mu=shift)
        latents = noise.to(self.device, torch.float32)
        for timestep in timesteps:
            t = timestep.float().expand(len(latents)) / scheduler.config.num_train_timesteps
            velocity = self.predict(latents, t, condition, text, guidance)
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents
