"""SFT on winners: the strong baseline that needs neither losers nor a reference."""

from __future__ import annotations

from torch import Tensor


def winner_loss(win_error: Tensor, *, weight: Tensor | float = 1.0) -> Tensor:
    """The model's own training loss on winners, unreduced [B]: `weight` >= 0 ([B] or a number) times their error [B].

    Over the whole image it is SFT and the replay of winners; over the background it anchors a preference term, which
    by itself may raise both errors (SFT-anchored DPO, e.g. RPO, arXiv 2404.19733).
    """
    return weight * win_error.float()
