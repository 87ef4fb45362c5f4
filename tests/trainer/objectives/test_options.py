"""Each option of the objective against a formula written again in numpy; what contradicts itself is refused."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer import objectives
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError
from trainer.contract.objective import ObjectiveConfig
from trainer.data.rows import Batch, Layout, StepSlots
from trainer.objectives import dpo_loss, error_map, next_beta, reason_weight, scale_gradient, winner_loss
from trainer.terms import StepCounts, combine, counts_of, errors_of

PAIRS, BETA = 3, 40.0


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layout(capo: int = 0, scpo: int = 0, replay: int = 0, weight: list[float] | None = None) -> Layout:
    return Layout(PAIRS, capo, scpo, replay, torch.tensor([0.6, 0.8, 1.0]), torch.tensor(weight or [1.0] * PAIRS))


def step(objective: ObjectiveConfig, parts: Layout, region: Tensor | None = None) -> tuple[float, dict, dict, Tensor]:
    """Loss, figures, the numpy region errors behind them, and the policy's prediction with its gradient."""
    rows = parts.referenced + parts.replay
    shape = (rows, 2, 4, 4)
    prediction, reference, target = draw(1, *shape).requires_grad_(), draw(2, *shape), draw(3, *shape)
    region = draw(4, rows, 1, 4, 4).sigmoid() if region is None else region
    batch = Batch((), target, torch.linspace(0.1, 0.9, rows), target, target, {}, {}, region)
    policy, known = (errors_of(error_map(x, target), batch, parts, objective) for x in (prediction, reference))
    sizes = StepCounts(parts.pairs, parts.capo, parts.scpo, parts.replay)
    terms = combine(policy, known, batch, parts, sizes, objective)
    terms.loss.backward()
    m = region.double().numpy()
    square = {"p": (prediction - target).detach().double().square().numpy(),
              "r": (reference - target).double().square().numpy()}  # fmt: skip
    errors = {
        f"{who}_{name}": (weight * value).sum((1, 2, 3))
        / np.maximum(np.broadcast_to(weight, shape).sum((1, 2, 3)), 1e-6)
        for who, value in square.items()
        for name, weight in (("background", m), ("foreground", 1 - m), ("whole", np.ones_like(m)))
    }
    return float(terms.loss.detach()), terms.figures, errors, prediction


def config(**values: object) -> ObjectiveConfig:
    return ObjectiveConfig.model_validate({"beta": BETA, "capo": {"weight": 0}, "scpo": {"weight": 0}, **values})


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rewards(errors: dict[str, np.ndarray], region: str = "background") -> tuple[np.ndarray, np.ndarray]:
    reward = -0.5 * BETA * (errors[f"p_{region}"] - errors[f"r_{region}"])
    return reward[:PAIRS], reward[PAIRS : 2 * PAIRS]


def test_replay_can_leave_the_boundarys_cells_out() -> None:
    parts, region = layout(replay=2), draw(4, 8, 1, 4, 4).sigmoid()
    region[:, :, :2], region[:, :, 2] = 0.0, 1.0
    options = {"replay": {"weight": 3.0, "boundary": "exclude"}}
    _, figures, _, prediction = step(config(**options), parts, region)
    _, whole, _, everywhere = step(config(replay={"weight": 3.0}), parts, region)
    rows, kept = slice(6, None), region.expand(8, 2, 4, 4) % 1 == 0
    squares = (prediction.detach() - draw(3, 8, 2, 4, 4)).square()[rows]
    expected = (squares * kept[rows]).sum((1, 2, 3)) / kept[rows].sum((1, 2, 3))
    assert figures["loss_replay"] == pytest.approx(float(expected.mean()), rel=1e-5)
    assert prediction.grad is not None and everywhere.grad is not None
    assert not prediction.grad[rows][~kept[rows]].any() and everywhere.grad[rows].all()
    assert torch.equal(prediction.grad[:6], everywhere.grad[:6])
    assert figures["loss_replay"] != whole["loss_replay"]


def test_public_names_have_the_signatures_of_the_method() -> None:
    wanted = {
        "region_error": (["prediction", "target", "region"], []),
        "dpo_loss": (["win_error", "lose_error", "reference_win_error", "reference_lose_error"], ["beta", "weight"]),
        "mask_dpo_loss": (
            ["win_error", "lose_error", "reference_win_error", "reference_lose_error", "win_foreground_error"],
            ["beta", "foreground_weight", "weight"],
        ),
        "shared_commonality_loss": (["rewards"], ["penalty"]),
    }
    for name, (positional, keywords) in wanted.items():
        parameters = inspect.signature(getattr(objectives, name)).parameters.values()
        assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == positional
        named = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert list(named)[: len(keywords)] == keywords or set(keywords) <= set(named)
        assert all(p.default is not p.empty for key, p in named.items() if key != "beta")
    result = dpo_loss(*(draw(i, 4) for i in range(4)), beta=2.0)
    assert result._fields == ("losses", "win_rewards", "lose_rewards")


def test_sft_is_the_inpainting_loss_of_the_winners_and_needs_no_reference() -> None:
    objective = config(preference="sft", t_min=0.2)
    assert not objective.prefers
    assert (objective.inpainting.weight, objective.inpainting.winners, objective.inpainting.t_min) == (1, "same", 0.2)
    parts = Layout(0, 0, 0, 3, torch.zeros(0), torch.zeros(0))
    loss, figures, errors, _ = step(objective, parts)
    assert parts.referenced == 0 and loss == pytest.approx(errors["p_whole"].mean(), rel=1e-5)
    assert figures["loss_replay"] == pytest.approx(loss)
    assert winner_loss(torch.tensor([1.0, 2.0]), weight=3.0).tolist() == [3, 6]


@pytest.mark.parametrize("boundary", ["soft", "exclude", "dpo", "sft"])
@pytest.mark.parametrize("whose", ["win", "both"])
def test_mask_dpo_with_each_boundary_and_foreground(boundary: str, whose: str) -> None:
    levels = torch.tensor([0.0, 0.25, 1.0, 1.0]).repeat(2 * PAIRS, 1, 4, 1)
    mask = {"boundary": boundary, "foreground_on": whose, "foreground_weight": 0.7}
    loss, _, _, prediction = step(config(mask_dpo=mask), layout(), levels)
    m = levels.double().numpy()
    hard = {"soft": (m, 1 - m), "exclude": (m == 1, m == 0), "dpo": (m > 0, m == 0), "sft": (m == 1, m < 1)}
    background, foreground = (np.broadcast_to(x, (6, 2, 4, 4)).astype(float) for x in hard[boundary])
    target, reference = draw(3, 6, 2, 4, 4), draw(2, 6, 2, 4, 4)
    mine = (prediction.detach() - target).double().numpy() ** 2
    theirs = (reference - target).double().numpy() ** 2

    def mean(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return (weight * x).sum((1, 2, 3)) / weight.sum((1, 2, 3))

    reward = -0.5 * BETA * (mean(mine, background) - mean(theirs, background))
    inside = mean(mine, foreground)
    kept = inside[:3] if whose == "win" else (inside[:3] + inside[3:]) / 2
    expected = (-np.log(sigmoid(reward[:3] - reward[3:])) + 0.7 * kept).mean()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_soft_labels_weigh_both_outcomes_by_the_posterior() -> None:
    loss, _, errors, _ = step(config(soft_labels=True, mask_dpo={"foreground_weight": 0}), layout())
    win, lose = rewards(errors)
    p = np.array([0.6, 0.8, 1.0])
    expected = -(p * np.log(sigmoid(win - lose)) + (1 - p) * np.log(sigmoid(lose - win))).mean()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_the_anchor_adds_the_winners_background_error() -> None:
    base, _, errors, _ = step(config(), layout())
    loss, figures, _, _ = step(config(anchor={"sft": 0.3}), layout())
    expected = 0.3 * errors["p_background"][:PAIRS].mean()
    assert loss - base == pytest.approx(expected, rel=1e-3)
    assert figures["loss_anchor"] == pytest.approx(expected, rel=1e-4)


def test_dpop_takes_a_worse_winner_off_the_margin() -> None:
    loss, figures, errors, _ = step(config(anchor={"dpop": 0.5}, mask_dpo={"foreground_weight": 0}), layout())
    win, lose = rewards(errors)
    expected = -np.log(sigmoid(win - lose - 0.5 * np.maximum(0, -win))).mean()
    assert (win < 0).any() and loss == pytest.approx(expected, rel=1e-4)
    assert figures["margin"] == pytest.approx((win - lose).mean(), rel=1e-4)
    better = dpo_loss(torch.zeros(2), torch.ones(2), torch.ones(2), torch.ones(2), beta=1.0, winner_penalty=5.0)
    assert torch.equal(better.losses, dpo_loss(torch.zeros(2), *[torch.ones(2)] * 3, beta=1.0).losses)


@pytest.mark.parametrize("scale", [0.0, 0.25])
def test_only_the_losers_gradient_is_scaled(scale: float) -> None:
    base, _, _, plain = step(config(), layout())
    loss, _, _, scaled = step(config(anchor={"lose_gradient": scale}), layout())
    assert loss == base
    assert plain.grad is not None and scaled.grad is not None
    assert torch.equal(scaled.grad[:PAIRS], plain.grad[:PAIRS])
    assert torch.allclose(scaled.grad[PAIRS:], scale * plain.grad[PAIRS:], rtol=1e-4, atol=1e-9)
    error = torch.ones(2, requires_grad=True)
    assert scale_gradient(error, 1.0) is error


def test_reasons_weigh_their_pairs() -> None:
    weights = {"scale": 2.0, "position": 0.0}
    cases = [
        ((), 1.0),
        (("scale",), 2.0),
        (("scale", "position"), 1.0),
        (("other",), 1.0),
        (("position", "other"), 0.5),
    ]
    assert [reason_weight(reasons, weights) for reasons, _ in cases] == [value for _, value in cases]
    loss, _, errors, _ = step(config(mask_dpo={"foreground_weight": 0}), layout(weight=[2.0, 0.0, 0.5]))
    win, lose = rewards(errors)
    assert loss == pytest.approx((np.array([2.0, 0, 0.5]) * -np.log(sigmoid(win - lose))).mean(), rel=1e-4)
    capo = config(capo={"weight": 1.0}, mask_dpo={"foreground_weight": 0})
    both, figures, errors, _ = step(capo, layout(capo=2, weight=[2.0, 0.0, 0.5]))
    reward = -0.5 * BETA * (errors["p_whole"] - errors["r_whole"])
    expected = (np.array([2.0, 0.0]) * -np.log(sigmoid(reward[6:8] - reward[8:10]))).mean()
    assert figures["loss_capo"] == pytest.approx(expected, rel=1e-4) and both > 0


def test_auto_beta_goes_to_its_target() -> None:
    bounds = {"target": 0.3, "rate": 0.5, "low": 10.0, "high": 200.0}
    assert next_beta(50.0, 0.5, **bounds) == pytest.approx(50 * math.exp(0.5 * 0.2))
    assert next_beta(50.0, 0.1, **bounds) == pytest.approx(50 * math.exp(-0.5 * 0.2))
    assert next_beta(50.0, 0.3, **bounds) == 50 and next_beta(50.0, math.nan, **bounds) == 50
    assert next_beta(199.0, 0.9, **bounds) == 200 and next_beta(10.1, 0.0, **bounds) == 10
    beta, gaps = 20.0, np.linspace(0, 0.05, 32)  # pairs whose errors stay: beta alone decides the mean
    for _ in range(500):
        beta = next_beta(beta, float(sigmoid(-0.5 * beta * gaps).mean()), **bounds)
    assert sigmoid(-0.5 * beta * gaps).mean() == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("pairing", ["same_condition", "cross_scene", "pull_up"])
def test_scpo_in_each_pairing(pairing: str) -> None:
    objective = config(scpo={"weight": 1.0, "pairing": pairing}, mask_dpo={"foreground_weight": 0})
    _, figures, errors, prediction = step(objective, layout(scpo=2))
    reward = -0.5 * BETA * (errors["p_background"] - errors["r_background"])
    gap = np.abs(reward[:2] - reward[6:8])
    expected = np.where(gap < 1, gap**2 / 2, gap - 0.5).mean()
    assert figures["loss_scpo"] == pytest.approx(expected, rel=1e-4)
    assert prediction.grad is not None
    moved = prediction.grad[6:8].abs().amax((1, 2, 3)) > 0
    weaker = reward[6:8] < reward[:2]
    assert moved.tolist() == (weaker.tolist() if pairing == "pull_up" else [True, True])


def test_options_are_off_by_default() -> None:
    plain = ObjectiveConfig()
    assert (plain.soft_labels, plain.noise, plain.auto_beta.target) == (False, "drawn", None)
    assert set(plain.reason_weights.model_dump().values()) == {1.0}
    assert plain.anchor.model_dump() == {"sft": 0.0, "dpop": 0.0, "lose_gradient": 1.0}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"preference": "sft"}, "leaves nothing for CAPO and SCPO"),
        ({"preference": "sft", "capo.weight": 0, "scpo.weight": 0, "replay.weight": 1}, "count it twice"),
        ({"preference": "sft", "capo.weight": 0, "scpo.weight": 0, "anchor.sft": 1}, "has no margin"),
        ({"preference": "sft", "capo.weight": 0, "scpo.weight": 0, "soft_labels": True}, "no pairs to weigh"),
        (
            {
                "preference": "none",
                "capo.weight": 0,
                "scpo.weight": 0,
                "replay.weight": 1,
                "t_weight": "linear_squared",
            },
            "no pairs to weigh",
        ),
        ({"preference": "dpo", "mask_dpo.boundary": "dpo"}, "does not divide the image"),
        ({"preference": "dpo", "mask_dpo.foreground_weight": 5}, "does not divide the image"),
        ({"soft_labels": True, "anchor.dpop": 1}, "would reward a winner that gets worse"),
        ({"noise": "tracked"}, "set scpo.weight to 0"),
        ({"noise": "tracked", "preference": "sft", "capo.weight": 0, "scpo.weight": 0}, "no pairs whose noise"),
        ({"auto_beta.target": 0.2, "auto_beta.low": 5000}, "beta must lie between"),
        ({"auto_beta.target": 0.7}, "auto_beta.target: Input should be less than 0.5"),
        ({"anchor.lose_gradient": 2}, "anchor.lose_gradient: Input should be less than or equal to 1"),
        ({"reason_weights": {"scale": 0, "position": 0, "viewpoint": 0, "other": 0}}, "every reason has weight 0"),
        ({"reason_weights.colour": 1}, "known there: other, position, scale, viewpoint"),
    ],
)
def test_contradictions_are_refused_with_words(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        apply_overrides(RunConfig(), {f"objective.{key}": value for key, value in overrides.items()})


def test_slots_of_sft_hold_winners_only() -> None:
    from trainer.data.rows import slots_of

    slots = slots_of(4, 3, config(preference="sft"))
    assert counts_of(slots) == StepCounts(0, 0, 0, 4)
    assert slots[0] == StepSlots([], [], [], [0, 1])


def test_no_forward_is_empty_where_there_are_fewer_winners_than_pairs() -> None:
    from trainer.data.rows import slots_of

    slots = slots_of(4, 1, config(preference="none", replay={"weight": 1, "per_step": 2}))
    assert [slot.replay for slot in slots] == [[0], [1]]
