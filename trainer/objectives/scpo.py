"""SCPO: narrow the gap of implicit rewards among winners."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Penalty = Literal["huber", "square"]


def penalty_of(gap: Tensor, penalty: Penalty = "huber") -> Tensor:
    """phi(gap), even and 0 at 0: Huber with its knee at 1, or the square."""
    if penalty == "huber":
        return F.huber_loss(gap, torch.zeros_like(gap), reduction="none", delta=1.0)
    if penalty == "square":
        return gap.square()
    raise ValueError(f"penalty {penalty!r} is none of huber, square")


def shared_commonality_loss(rewards: Tensor, *, penalty: Penalty = "huber", pull_up: bool = False) -> Tensor:
    """Mean of phi(r_i - r_j) over the pairs i < j of winners with implicit rewards [K]; a scalar.

    The winners must share timestep and noise, or their gap is a timestep's doing. With `pull_up` only the weaker of a
    pair gets a gradient. Fewer than two winners give 0. At policy = reference every reward is 0 and so is the loss.
    """
    rewards = rewards.float()
    if rewards.numel() < 2:
        return rewards.sum() * 0.0
    first, second = torch.triu_indices(len(rewards), len(rewards), offset=1, device=rewards.device)
    one, other = rewards[first], rewards[second]
    if pull_up:
        one, other = torch.minimum(one, other), torch.maximum(one, other).detach()
    return penalty_of(one - other, penalty).mean()
