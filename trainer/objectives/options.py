"""What may be laid over the objectives, each off by default: whose gradient, which pairs, how strong.

None of these is in the abstract of InpaintDPO; measure before recommending one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor


def scale_gradient(error: Tensor, scale: float) -> Tensor:
    """`error` [B] with its value kept and its gradient times `scale` in [0, 1].

    Laid on the loser's error it slows how fast the loser is wrecked, the way in which DPO reaches full accuracy while
    the winner gets worse too. Source: Diffusion-SDPO (arXiv 2511.03317) scales the loser's gradient adaptively; here it
    is a constant.
    """
    return error if scale == 1.0 else scale * error + (1.0 - scale) * error.detach()


def reason_weight(reasons: Sequence[str], weights: Mapping[str, float]) -> float:
    """Weight of a pair: the mean of the weights of the reasons given against its loser; 1 where none was given.

    A reason that `weights` does not name counts 1. Weights are >= 0; the step's mean is over pairs, not over weights.
    """
    return sum(weights.get(reason, 1.0) for reason in reasons) / len(reasons) if reasons else 1.0


def next_beta(beta: float, loss_share: float, *, target: float, rate: float, low: float, high: float) -> float:
    """beta of the next step, driven so that the mean of sigmoid(-margin) goes to `target`.

    `loss_share` is that mean over the step just done, in (0, 1): the share of the full gradient that pairs still get,
    1/2 at the start and near 0 once they are saturated. `log beta` moves by `rate` times what it lies above the target:
    up while pairs are unmoved, down once they saturate; within [low, high]. A share that is no number leaves beta
    alone. Source: ours; beta-DPO (arXiv 2407.08639) also adapts beta to the batch's rewards.
    """
    if not math.isfinite(loss_share):
        return beta
    return min(high, max(low, beta * math.exp(rate * (loss_share - target))))
