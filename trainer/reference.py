"""The frozen reference: the same weights with the trained adapter off, never a second copy of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.backbones.protocol import Backbone
    from trainer.data.rows import Batch


def reference_prediction(backbone: Backbone, batch: Batch, guidance: float) -> Tensor:
    """The reference's prediction [B,C,h,w] for a batch, without gradient, by the kernels the policy uses."""
    with torch.no_grad(), backbone.reference():
        return backbone.predict(batch.noisy, batch.t, batch.condition, batch.text, guidance)


def policy_prediction(backbone: Backbone, batch: Batch, guidance: float) -> Tensor:
    """The policy's prediction [B,C,h,w] for a batch, with gradient."""
    return backbone.predict(batch.noisy, batch.t, batch.condition, batch.text, guidance)
