"""Stable Diffusion 3 with an inpainting ControlNet of alimama's layout.

The ControlNet sees the noisy latents and, embedded beside them, 17 channels: the latents of the picture with a black
background, and a mask in which 1 is kept (the other way round than M). Its outputs are added to the transformer's
blocks. Only the transformer is tuned. Rectified flow, timestep = 1000 sigma; the layout is that of diffusers'
StableDiffusion3ControlNetInpaintingPipeline, whose text encoding is called here. T5 may be absent: zeros stand for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import DiffusionPipeline, SD3ControlNetModel, StableDiffusion3ControlNetInpaintingPipeline
from diffusers.pipelines.controlnet_sd3.pipeline_stable_diffusion_3_controlnet_inpainting import retrieve_timesteps
from torch import Tensor, nn

from trainer.backbones.flow import RectifiedFlow
from trainer.backbones.pipeline import PipelineBackbone, in_order, numbered
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.families import Base
    from trainer.backbones.protocol import Tensors

BLOCK = "block "
LONGEST_TEXT = 256
"""Tokens of T5, the pipeline's default."""


class SD3ControlNetBackbone(RectifiedFlow, PipelineBackbone):
    """The pipeline behind the protocol; see `trainer.backbones.protocol.Backbone` for the methods' shapes."""

    family: ClassVar[str] = "sd3_controlnet"
    pipeline_class: ClassVar[type[DiffusionPipeline]] = StableDiffusion3ControlNetInpaintingPipeline
    encoder_names: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2", "text_encoder_3")
    patch: ClassVar[int] = 2
    fill: ClassVar[float] = -1.0
    leads_from_nothing: ClassVar[bool] = True

    def __init__(self, pipeline: Any, device: torch.device | str = "cpu", compute: torch.dtype = torch.float32) -> None:
        super().__init__(pipeline, device, compute)
        words = pipeline.tokenizer_3
        self._text_length = min(LONGEST_TEXT, int(words.model_max_length)) if words else LONGEST_TEXT

    @classmethod
    def open(cls, base: Base, *, revision: str | None, dtype: torch.dtype, **parts: Any) -> DiffusionPipeline:
        try:
            if "controlnet" not in parts:  # alimama's config does not name the mask's channel
                parts["controlnet"] = SD3ControlNetModel.from_pretrained(
                    base.controlnet, dtype=dtype, extra_conditioning_channels=1
                )
        except (ValueError, RuntimeError) as error:
            if "pos_embed_input" not in str(error):
                raise
            raise ModelError(
                "not_for_inpainting",
                f"The ControlNet {base.controlnet} takes no channel of a mask beside the image: it cannot inpaint.",
            ) from error
        index = DiffusionPipeline.load_config(base.path, revision=revision)
        absent = {name: None for name in ("text_encoder_3", "tokenizer_3") if not index.get(name, [None])[0]}
        return super().open(base, revision=revision, dtype=dtype, **(parts | absent))

    def reader(self) -> tuple[Any, int]:
        words = self.pipeline.tokenizer_3
        return (words, self._text_length) if words else super().reader()

    def encode_nothing(self) -> Tensors:
        return self.encode_text([""])

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], pixels: Tensor | None = None, mask: Tensor | None = None) -> Tensors:
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), prompt_2=None, prompt_3=None, device=self.device, do_classifier_free_guidance=False,
            max_sequence_length=self._text_length,
        )  # fmt: skip
        return {"embeds": embeds, "pooled": pooled}

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        background = (mask.to(self.device) >= 0.5).float()
        masked = torch.where(background.bool(), self.fill, pixels.to(self.device))
        latents = self.encode_images(masked)
        kept = 1 - nn.functional.interpolate(background, size=latents.shape[2:])
        return {"control": torch.cat((latents, kept), dim=1)}

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        if not any(name.startswith(BLOCK) for name in condition):
            condition = condition | self.residuals(noisy, t, condition, text, guidance)
        with self.autocast():
            velocity = self.denoiser(
                **self._inputs(self.denoiser, noisy, t, text),
                block_controlnet_hidden_states=in_order(BLOCK, condition, self.denoiser.dtype),
            )[0]
        return velocity.float()

    @torch.no_grad()  # nothing before it or in it is trained
    def residuals(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensors:
        """What the ControlNet adds behind the transformer's blocks; as in the pipeline, it is given no pooled text."""
        controlnet = self.pipeline.controlnet
        inputs = self._inputs(controlnet, noisy, t, text)
        inputs["pooled_projections"] = torch.zeros_like(inputs["pooled_projections"])
        with self.autocast():
            return numbered(BLOCK, controlnet(**inputs, controlnet_cond=condition["control"].to(controlnet.dtype))[0])

    def _inputs(self, model: Any, noisy: Tensor, t: Tensor, text: Tensors) -> dict[str, Any]:
        dtype = model.dtype
        return {
            "hidden_states": noisy.to(dtype),
            "timestep": t.float() * self.pipeline.scheduler.config.num_train_timesteps,
            "encoder_hidden_states": text["embeds"].to(dtype),
            "pooled_projections": text["pooled"].to(dtype),
            "return_dict": False,
        }

    @torch.no_grad()
    def sample(self, noise: Tensor, condition: Tensors, text: Tensors, *, steps: int, guidance: float) -> Tensor:
        scheduler = self.pipeline.scheduler
        timesteps, _ = retrieve_timesteps(scheduler, steps, self.device)
        latents = noise.to(self.device, torch.float32)
        guided = guidance > 1
        if guided:
            nothing = {
                name: value.expand(len(latents), *value.shape[1:]) for name, value in self.unconditional().items()
            }
            text = {name: torch.cat((nothing[name], value)) for name, value in text.items()}
            condition = {name: torch.cat((value, value)) for name, value in condition.items()}
        for timestep in timesteps:
            given = torch.cat((latents, latents)) if guided else latents
            t = timestep.float().expand(len(given)) / scheduler.config.num_train_timesteps
            velocity = self.predict(given, t, condition, text)
            if guided:
                away, towards = velocity.chunk(2)
                velocity = away + guidance * (towards - away)
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents
