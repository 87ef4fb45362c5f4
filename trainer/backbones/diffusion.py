"""Discrete diffusion schedules (DDPM and its kin): which timestep a share of noise is, and what is learnt there.

With a = alphas_cumprod of timestep k, x_k = sqrt(a) clean + sqrt(1-a) noise, which is in proportion to
(1-s) clean + s noise with s = sqrt(1-a) / (sqrt(a) + sqrt(1-a)): the t of rectified flow with the same signal-to-noise
ratio. A schedule runs from s_first > 0 to s_last <= 1 (Stable Diffusion: 0.03 to 0.94); the config's t in [0,1] is
spread linearly over it, t = 0 being its first timestep and t = 1 its last, and the nearest timestep is taken. So a
window of high noise means the same noise in every family, but for that spread; a uniform t is uniform in the share of
noise, as it is for flow, not in k.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from trainer.backbones.protocol import PredictionType
from trainer.contract.errors import ModelError

DETERMINISTIC = (
    DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler, PNDMScheduler,
    UniPCMultistepScheduler,
)  # fmt: skip
PREDICTIONS: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample")


class DiscreteSchedule:
    """The noise levels of a diffusers scheduler with `alphas_cumprod`, on one device.

    Raises ModelError for a scheduler without them, or one whose prediction type is unknown.
    """

    def __init__(self, scheduler: Any, device: torch.device) -> None:
        name, alphas = type(scheduler).__name__, getattr(scheduler, "alphas_cumprod", None)
        if alphas is None:
            raise ModelError("scheduler_unknown", f"{name} has no alphas_cumprod: this family needs a DDPM schedule.")
        self.prediction_type: PredictionType = scheduler.config.get("prediction_type", "epsilon")
        if self.prediction_type not in PREDICTIONS:
            raise ModelError("scheduler_unknown", f"{name} predicts {self.prediction_type!r}, which is not known here.")
        self._signal = alphas.double().sqrt().float().to(device)
        self._noise = (1 - alphas.double()).sqrt().float().to(device)
        self.shares = self._noise / (self._signal + self._noise)
        """Share of noise of each timestep, rising."""
        self._between = (self.shares[1:] + self.shares[:-1]) / 2

    def timesteps(self, t: Tensor) -> Tensor:
        """Timesteps [B] (integers) of t [B] in [0,1]."""
        first, last = self.shares[0], self.shares[-1]
        return torch.searchsorted(self._between, first + t.to(first) * (last - first))

    def noisy(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t [B,C,h,w]."""
        signal, share = self._at(t)
        return signal * clean + share * noise

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noise, the velocity `sqrt(a) noise - sqrt(1-a) clean`, or the clean latents."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return clean
        signal, share = self._at(t)
        return signal * noise - share * clean

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        index = self.timesteps(t)
        return self._signal[index].view(-1, 1, 1, 1), self._noise[index].view(-1, 1, 1, 1)


def deterministic(scheduler: Any) -> Any:
    """The scheduler, or DDIM on its schedule where it would add noise of its own.

    An image must depend on its seed alone, not on what is sampled beside it.
    """
    plain = isinstance(scheduler, DETERMINISTIC) or (
        isinstance(scheduler, DPMSolverMultistepScheduler) and not scheduler.config.algorithm_type.startswith("sde")
    )
    return scheduler if plain else DDIMScheduler.from_config(scheduler.config)
