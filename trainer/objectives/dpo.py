"""Diffusion-DPO on region errors."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class PreferenceLoss(NamedTuple):
    """`losses` [B] unreduced with gradient; `win_rewards`, `lose_rewards` [B] detached."""

    losses: Tensor
    win_rewards: Tensor
    lose_rewards: Tensor


def timestep_weight(t: Tensor, kind: Literal["constant", "linear_squared"] = "constant") -> Tensor:
    """omega(t) [B] of the implicit reward: 1, or (1-t)^2 as derived for flow models."""
    return torch.ones_like(t) if kind == "constant" else (1 - t).square()


def implicit_reward(error: Tensor, reference_error: Tensor, *, beta: float, weight: Tensor | float = 1.0) -> Tensor:
    """`-(beta/2) weight (error - reference_error)`, [B] with gradient through `error`."""
    return -0.5 * beta * weight * (error.float() - reference_error.float())


def dpo_loss(
    win_error: Tensor,
    lose_error: Tensor,
    reference_win_error: Tensor,
    reference_lose_error: Tensor,
    *,
    beta: float,
    weight: Tensor | float = 1.0,
    p_win: Tensor | None = None,
    winner_penalty: float = 0.0,
) -> PreferenceLoss:
    """`-log sigmoid(r_win - r_lose)` of each pair, from the policy's and the reference's errors [B].

    `weight` is omega(t), [B] or a number. With `p_win` [B] in [0.5, 1] both outcomes count, as the annotators split
    (conservative DPO with each pair's own posterior); without it the winner is certain. `winner_penalty` >= 0 is
    DPOP's lambda (arXiv 2402.13228): `lambda max(0, -r_win)` is taken off the margin inside the
    sigmoid, so that a winner worse than the reference costs. At policy = reference the loss is ln 2 and its gradient is
    not zero. Source: Diffusion-DPO, equation 14, with the half kept outside beta.
    """
    win = implicit_reward(win_error, reference_win_error, beta=beta, weight=weight)
    lose = implicit_reward(lose_error, reference_lose_error, beta=beta, weight=weight)
    margin = win - lose
    if winner_penalty:
        margin = margin - winner_penalty * F.relu(-win)
    if p_win is None:
        losses = -F.logsigmoid(margin)
    else:
        losses = -(p_win * F.logsigmoid(margin) + (1 - p_win) * F.logsigmoid(-margin))
    return PreferenceLoss(losses, win.detach(), lose.detach())
