"""Rectified flow: x_t = (1-t) clean + t noise, the target is noise - clean, the timestep is t itself."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from trainer.backbones.protocol import PredictionType


class RectifiedFlow:
    """The schedule of flow families."""

    prediction_type: ClassVar[PredictionType] = "flow"

    def noisy(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        t = t.view(-1, 1, 1, 1)
        return (1 - t) * clean + t * noise

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - clean
