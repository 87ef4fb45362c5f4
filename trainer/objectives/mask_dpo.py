"""MaskDPO: preference on the background, inpainting loss on the foreground."""

from __future__ import annotations

from torch import Tensor

from trainer.objectives.dpo import PreferenceLoss, dpo_loss


def mask_dpo_loss(
    win_error: Tensor,
    lose_error: Tensor,
    reference_win_error: Tensor,
    reference_lose_error: Tensor,
    win_foreground_error: Tensor,
    *,
    beta: float,
    foreground_weight: float = 1.0,
    weight: Tensor | float = 1.0,
    lose_foreground_error: Tensor | None = None,
    p_win: Tensor | None = None,
    winner_penalty: float = 0.0,
) -> PreferenceLoss:
    """DPO on background errors plus `foreground_weight` times the winner's foreground error; all errors [B].

    Win and lose carry the same foreground: there plain DPO would pull one target both ways, so the foreground keeps
    the inpainting loss instead. With `lose_foreground_error` the mean of both members' foregrounds is taken. `p_win`
    and `winner_penalty` are those of `dpo_loss`.
    """
    preference = dpo_loss(
        win_error,
        lose_error,
        reference_win_error,
        reference_lose_error,
        beta=beta,
        weight=weight,
        p_win=p_win,
        winner_penalty=winner_penalty,
    )
    foreground = win_foreground_error.float()
    if lose_foreground_error is not None:
        foreground = 0.5 * (foreground + lose_foreground_error.float())
    return preference._replace(losses=preference.losses + foreground_weight * foreground)
