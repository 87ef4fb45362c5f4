"""What the inpainting UNets share: [noisy | mask | masked latents] channels, a discrete schedule, real guidance.

The mask is 1 where the image is made anew, taken on the latent grid by nearest neighbour as the pipelines do (the loss
has its own, pooled by area); the masked image is grey there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import retrieve_timesteps
from torch import Tensor, nn

from trainer.backbones.diffusion import DiscreteSchedule, deterministic
from trainer.backbones.pipeline import PipelineBackbone
from trainer.backbones.protocol import PredictionType
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.protocol import Tensors


class UNetInpaintBackbone(PipelineBackbone, ABC):
    """A pipeline around a UNet2DConditionModel with nine input channels."""

    denoiser_name: ClassVar[str] = "unet"
    leads_from_nothing: ClassVar[bool] = True

    def __init__(self, pipeline: Any, device: torch.device | str = "cpu", compute: torch.dtype = torch.float32) -> None:
        super().__init__(pipeline, device, compute)
        channels, latents = int(self.denoiser.config.in_channels), int(self.vae_config.latent_channels)
        if channels != 2 * latents + 1:
            raise ModelError(
                "not_for_inpainting",
                f"This model's UNet takes {channels} channels; one made for inpainting takes {2 * latents + 1}.",
            )
        self._schedule = DiscreteSchedule(pipeline.scheduler, self.device)
        self.prediction_type: PredictionType = self._schedule.prediction_type

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        mask = (mask.to(self.device) >= 0.5).float()
        masked = self.encode_images(pixels.to(self.device) * (1 - mask))
        return {"mask": nn.functional.interpolate(mask, size=masked.shape[2:]), "masked": masked}

    def noisy(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self._schedule.noisy(clean, noise, t)

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self._schedule.target(clean, noise, t)

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        return self._forward(noisy, self._schedule.timesteps(t), condition, text)

    def _forward(self, noisy: Tensor, timesteps: Tensor, condition: Tensors, text: Tensors) -> Tensor:
        dtype = self.denoiser.dtype
        given = torch.cat((noisy, condition["mask"].to(noisy), condition["masked"].to(noisy)), dim=1)
        with self.autocast():
            return self.denoiser(
                given.to(dtype),
                timesteps,
                encoder_hidden_states=text["embeds"].to(dtype),
                added_cond_kwargs=self.added(text, noisy),
                return_dict=False,
            )[0].float()

    def added(self, text: Tensors, noisy: Tensor) -> Tensors | None:
        """Further conditioning of the UNet, where the family has one."""
        return None

    @abstractmethod
    def encode_nothing(self) -> Tensors: ...

    @torch.no_grad()
    def sample(self, noise: Tensor, condition: Tensors, text: Tensors, *, steps: int, guidance: float) -> Tensor:
        scheduler = deterministic(self.pipeline.scheduler)
        timesteps, _ = retrieve_timesteps(scheduler, steps, self.device)
        latents = noise.to(self.device, torch.float32) * scheduler.init_noise_sigma
        guided = guidance > 1
        if guided:
            count = len(latents)
            condition = {name: torch.cat((value, value)) for name, value in condition.items()}
            nothing = {n: v.expand(count, *v.shape[1:]) for n, v in self.unconditional().items()}
            text = {name: torch.cat((nothing[name].to(value), value)) for name, value in text.items()}
        for timestep in timesteps:
            scaled = scheduler.scale_model_input(latents, timestep)
            given = torch.cat((scaled, scaled)) if guided else scaled
            prediction = self._forward(given, timestep.expand(len(given)), condition, text)
            if guided:
                away, towards = prediction.chunk(2)
                prediction = away + guidance * (towards - away)
            latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
        return latents
