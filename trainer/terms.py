"""From predictions to the loss of a step and the figures that say whether it is healthy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.contract.objective import ObjectiveConfig
from trainer.data.rows import Batch, Layout, StepSlots
from trainer.objectives import (
    PreferenceLoss,
    capo_loss,
    dpo_loss,
    implicit_reward,
    map_error,
    mask_dpo_loss,
    scale_gradient,
    shared_commonality_loss,
    split_regions,
    timestep_weight,
    winner_loss,
)


@dataclass(frozen=True)
class StepCounts:
    """Sizes of the whole step, by which a forward's sums become its share of the means."""

    pairs: int
    capo: int
    scpo: int
    replay: int


def counts_of(slots: Sequence[StepSlots]) -> StepCounts:
    """The sizes that several forwards have together."""
    return StepCounts(*(sum(len(getattr(s, kind)) for s in slots) for kind in ("pairs", "capo", "scpo", "replay")))


@dataclass(frozen=True)
class Terms:
    """The part of a step's loss that one forward contributes, and sums for the log."""

    loss: Tensor
    figures: dict[str, float]


@dataclass(frozen=True)
class Errors:
    """Errors [rows] of one model: background, foreground and the whole image."""

    background: dict[str, Tensor]
    foreground: dict[str, Tensor]
    whole: dict[str, Tensor]


def errors_of(maps: Tensor, batch: Batch, layout: Layout, objective: ObjectiveConfig) -> Errors:
    """Region errors from the error maps [rows,1,h,w] of a model; they may lack the batch's last rows (the replay)."""
    background, foreground = split_regions(batch.region[: len(maps)], objective.mask_dpo.boundary)
    channels, reduction = batch.clean.shape[1], objective.reduction
    return Errors(
        *(
            layout.split(map_error(maps, region, channels, reduction=reduction))
            for region in (background, foreground, _whole(background, batch, layout, objective))
        )
    )


def _whole(like: Tensor, batch: Batch, layout: Layout, objective: ObjectiveConfig) -> Tensor:
    """The whole image [rows,1,h,w]; of replayed rows without the cells that the mask cuts, if the config asks so."""
    region = torch.ones_like(like)
    if objective.inpainting.boundary == "exclude":
        region[layout.referenced :] = sum(split_regions(batch.region[layout.referenced : len(like)], "exclude"))
    return region


def combine(
    policy: Errors, reference: Errors, batch: Batch, layout: Layout, counts: StepCounts, objective: ObjectiveConfig
) -> Terms:
    """L = L_Mask + lambda_c L_CAPO + lambda_s L_SCPO + inpainting, as this forward's share of the step's means."""
    t = layout.split(batch.t)
    figures: dict[str, float] = {}
    loss = torch.zeros((), device=batch.t.device)
    if layout.pairs:
        loss = loss + _preference(policy, reference, t["win"], layout, objective, counts.pairs, figures)
    if layout.capo:
        p_win = layout.p_win[: layout.capo].to(batch.t.device) if objective.soft_labels else None
        capo = capo_loss(
            policy.whole["capo_win"], scale_gradient(policy.whole["capo_lose"], objective.anchor.lose_gradient),
            reference.whole["capo_win"], reference.whole["capo_lose"], beta=objective.beta,
            weight=timestep_weight(t["capo_win"], objective.t_weight), p_win=p_win,
            winner_penalty=objective.anchor.dpop,
        )  # fmt: skip
        term = (layout.weight[: layout.capo].to(batch.t.device) * capo.losses).sum() / counts.capo
        loss = loss + objective.capo.weight * term
        figures["loss_capo"] = float(term.detach())
        margin = capo.win_rewards - capo.lose_rewards
        figures["capo_margin"] = float(margin.sum()) / counts.capo
        figures["capo_accuracy"] = float((margin > 0).float().sum()) / counts.capo
    if layout.scpo:
        term = _commonality(policy, reference, t, layout, objective) / counts.scpo
        loss = loss + objective.scpo.weight * term
        figures["loss_scpo"] = float(term.detach())
    if layout.replay:
        term = winner_loss(policy.whole["replay"]).sum() / counts.replay
        loss = loss + objective.inpainting.weight * term
        figures["loss_replay"] = float(term.detach())
    figures["loss"] = float(loss.detach())
    return Terms(loss, figures)


def _preference(
    policy: Errors,
    reference: Errors,
    t: Tensor,
    layout: Layout,
    objective: ObjectiveConfig,
    pairs: int,
    figures: dict[str, float],
) -> Tensor:
    p_win = layout.p_win.to(t.device) if objective.soft_labels else None
    weight, anchor = timestep_weight(t, objective.t_weight), objective.anchor
    masked = objective.preference == "mask_dpo"
    mine, theirs = (policy.background, reference.background) if masked else (policy.whole, reference.whole)
    errors = (mine["win"], scale_gradient(mine["lose"], anchor.lose_gradient), theirs["win"], theirs["lose"])
    result: PreferenceLoss
    if masked:
        mask = objective.mask_dpo
        result = mask_dpo_loss(
            *errors,
            policy.foreground["win"],
            beta=objective.beta,
            foreground_weight=mask.foreground_weight,
            weight=weight,
            lose_foreground_error=policy.foreground["lose"] if mask.foreground_on == "both" else None,
            p_win=p_win,
            winner_penalty=anchor.dpop,
        )
    else:
        result = dpo_loss(*errors, beta=objective.beta, weight=weight, p_win=p_win, winner_penalty=anchor.dpop)
    figures |= _health(policy, reference, mine, theirs, result, pairs)
    losses = result.losses
    if anchor.sft:
        held = winner_loss(policy.background["win"], weight=anchor.sft)
        figures["loss_anchor"] = float(held.detach().sum()) / pairs
        losses = losses + held
    return (layout.weight.to(t.device) * losses).sum() / pairs


def _health(
    policy: Errors,
    reference: Errors,
    mine: dict[str, Tensor],
    theirs: dict[str, Tensor],
    result: PreferenceLoss,
    pairs: int,
) -> dict[str, float]:
    """D_w, D_l, margin, accuracy and the foreground's error against the reference, as shares of the step's means."""
    with torch.no_grad():
        win, lose = mine["win"] - theirs["win"], mine["lose"] - theirs["lose"]
        margin = result.win_rewards - result.lose_rewards
        foreground = policy.foreground["win"]
        values = {
            "loss_preference": -torch.nn.functional.logsigmoid(margin),
            "loss_foreground": foreground,
            "d_win": win,
            "d_lose": lose,
            "margin": margin,
            "accuracy": (margin > 0).float(),
            "win_worse": (win > 0).float(),
            "sigmoid_negative_margin": torch.sigmoid(-margin),
            "foreground_against_reference": foreground - reference.foreground["win"],
        }
        return {name: float(value.sum()) / pairs for name, value in values.items()}


def _commonality(
    policy: Errors, reference: Errors, t: dict[str, Tensor], layout: Layout, objective: ObjectiveConfig
) -> Tensor:
    """Sum over the pairs of winners of phi(r_M(pair's winner) - r_M(partner))."""
    weight = timestep_weight(t["scpo"], objective.t_weight)
    own = implicit_reward(
        policy.background["win"][: layout.scpo], reference.background["win"][: layout.scpo],
        beta=objective.beta, weight=weight,
    )  # fmt: skip
    partner = implicit_reward(
        policy.background["scpo"], reference.background["scpo"], beta=objective.beta, weight=weight
    )
    config = objective.scpo
    pull_up = config.pairing == "pull_up"
    groups = torch.stack((own, partner), dim=1)
    return sum(
        (shared_commonality_loss(group, penalty=config.penalty, pull_up=pull_up) for group in groups),
        start=torch.zeros((), device=groups.device),
    )
