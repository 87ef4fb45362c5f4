"""CAPO: global preference between differently cropped members of a pair (our reading; crops: `trainer.data.crops`)."""

from __future__ import annotations

from torch import Tensor

from trainer.objectives.dpo import PreferenceLoss, dpo_loss


def capo_loss(
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
    """Plain DPO on errors of the *whole* crop (R = 1), each member under its own cropped condition; errors [B].

    The two windows differ, so the foregrounds no longer coincide: global preference is free of the conflict that
    MaskDPO avoids by masking, and the boundary between subject and background gets a preference gradient.
    """
    return dpo_loss(
        win_error,
        lose_error,
        reference_win_error,
        reference_lose_error,
        beta=beta,
        weight=weight,
        p_win=p_win,
        winner_penalty=winner_penalty,
    )
