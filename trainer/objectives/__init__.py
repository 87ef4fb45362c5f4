"""The objectives as pure functions of error tensors: unreduced losses and detached rewards come back.

Conventions (sources: Diffusion-DPO, arXiv 2311.12908, for the implicit reward; InpaintDPO, arXiv 2512.15644, for the
three terms, known by its abstract, so that the equations here are our reading of it):

- errors are float32 tensors [B], one a sample, of one region: `E_R = sum(R (pred-target)^2) / (C sum(R))`;
- the implicit reward is `r = -(beta/2) weight (E_policy - E_reference)`: the half belongs to beta;
- win and lose of a pair share noise and timestep.
"""

from trainer.objectives.capo import capo_loss
from trainer.objectives.dpo import PreferenceLoss, dpo_loss, implicit_reward, timestep_weight
from trainer.objectives.errors import Pooling, error_map, map_error, pool_mask, region_error, split_regions
from trainer.objectives.mask_dpo import mask_dpo_loss
from trainer.objectives.options import next_beta, reason_weight, scale_gradient
from trainer.objectives.scpo import shared_commonality_loss
from trainer.objectives.sft import winner_loss

__all__ = [
    "Pooling",
    "PreferenceLoss",
    "capo_loss",
    "dpo_loss",
    "error_map",
    "implicit_reward",
    "map_error",
    "mask_dpo_loss",
    "next_beta",
    "pool_mask",
    "reason_weight",
    "region_error",
    "scale_gradient",
    "shared_commonality_loss",
    "split_regions",
    "timestep_weight",
    "winner_loss",
]
