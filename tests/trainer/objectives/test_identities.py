"""The identities of the method, each on random tensors, and the formulas against an independent computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.objectives import (
    dpo_loss,
    mask_dpo_loss,
    pool_mask,
    region_error,
    shared_commonality_loss,
    split_regions,
)
from trainer.objectives.errors import to_clean_error, to_noise_error
from trainer.objectives.scpo import penalty_of

SHAPE = (3, 4, 8, 8)
BETA = 500.0


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def half_mask() -> Tensor:
    mask = torch.ones(SHAPE[0], 1, *SHAPE[2:])
    mask[..., 2:6, 2:6] = 0
    return mask


def pair_errors(prediction: tuple[Tensor, Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
    return region_error(prediction[0], rand(*SHAPE, seed=8), mask), region_error(
        prediction[1], rand(*SHAPE, seed=9), mask
    )


# 1


def test_policy_as_reference_gives_ln_2_with_a_gradient_and_no_gap() -> None:
    win, lose = rand(*SHAPE, seed=1).requires_grad_(), rand(*SHAPE, seed=2)
    errors = pair_errors((win, lose), half_mask())
    result = dpo_loss(*errors, errors[0].detach(), errors[1].detach(), beta=BETA)
    assert torch.allclose(result.losses, torch.full((3,), math.log(2)))
    assert not result.win_rewards.requires_grad and not result.lose_rewards.requires_grad
    result.losses.sum().backward()
    assert win.grad is not None and win.grad.abs().max() > 0
    rewards = torch.zeros(4, requires_grad=True)
    gap = shared_commonality_loss(rewards)
    gap.backward()
    assert gap == 0 and rewards.grad is not None and not rewards.grad.any()


# 2


def test_preference_leaves_the_foreground_and_inpainting_the_background_alone() -> None:
    background, foreground = split_regions(half_mask())
    win, lose = rand(*SHAPE, seed=1).requires_grad_(), rand(*SHAPE, seed=2).requires_grad_()
    errors = pair_errors((win, lose), background)
    dpo_loss(*errors, errors[0].detach() + 0.1, errors[1].detach(), beta=BETA).losses.sum().backward()
    assert win.grad is not None and lose.grad is not None
    assert not win.grad[..., 2:6, 2:6].any() and not lose.grad[..., 2:6, 2:6].any()
    assert win.grad[..., 0, 0].all()
    win.grad = None
    region_error(win, rand(*SHAPE, seed=8), foreground).sum().backward()
    outside = half_mask().bool().expand(SHAPE)
    assert not win.grad[outside].any() and win.grad[~outside].all()


# 3


def test_swapping_negates_the_margin_and_a_full_mask_gives_plain_dpo() -> None:
    a, b, c, d = (rand(5, seed=s).abs() for s in range(4))
    one, other = dpo_loss(a, b, c, d, beta=3.0), dpo_loss(b, a, d, c, beta=3.0)
    assert torch.allclose(one.win_rewards - one.lose_rewards, -(other.win_rewards - other.lose_rewards))
    win, lose = rand(*SHAPE, seed=1), rand(*SHAPE, seed=2)
    ones = torch.ones(SHAPE[0], 1, *SHAPE[2:])
    background, foreground = split_regions(ones)
    masked = pair_errors((win, lose), background)
    plain = tuple((p - rand(*SHAPE, seed=s)).square().mean((1, 2, 3)) for p, s in ((win, 8), (lose, 9)))
    zero = torch.zeros(3)
    expected = dpo_loss(*plain, zero, zero, beta=BETA)
    result = mask_dpo_loss(*masked, zero, zero, region_error(win, rand(*SHAPE, seed=8), foreground), beta=BETA)
    assert torch.allclose(result.losses, expected.losses, rtol=1e-5)


# 4


def test_region_mean_ignores_tiling_and_the_margin_the_foreground() -> None:
    prediction, target, mask = rand(*SHAPE, seed=1), rand(*SHAPE, seed=2), half_mask()
    tiled = [torch.cat((x, x), dim=-1) for x in (prediction, target, mask)]
    assert torch.allclose(region_error(*tiled), region_error(prediction, target, mask))
    assert not torch.allclose(
        region_error(*tiled, reduction="sum"), region_error(prediction, target, mask, reduction="sum")
    )
    changed = prediction.clone()
    changed[..., 2:6, 2:6] += 5
    assert torch.equal(region_error(changed, target, mask), region_error(prediction, target, mask))


# 5


def test_noise_and_clean_errors_follow_from_the_velocity_error() -> None:
    clean, noise, prediction = rand(*SHAPE, seed=1), rand(*SHAPE, seed=2), rand(*SHAPE, seed=3)
    t = torch.tensor([0.1, 0.5, 0.9])
    broad = t.view(-1, 1, 1, 1)
    noisy = (1 - broad) * clean + broad * noise
    ones = torch.ones(SHAPE[0], 1, *SHAPE[2:])
    velocity = region_error(prediction, noise - clean, ones)
    assert torch.allclose(
        region_error(noisy + (1 - broad) * prediction, noise, ones), to_noise_error(velocity, t), rtol=1e-4
    )
    assert torch.allclose(region_error(noisy - broad * prediction, clean, ones), to_clean_error(velocity, t), rtol=1e-4)


# 6


def test_cropping_and_masking_commute_and_the_penalty_is_even() -> None:
    from trainer.contract.objective import CapoConfig
    from trainer.data.crops import SubjectMask, crop, draw_windows

    random = np.random.default_rng(0)
    image = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    mask = np.full((40, 48), 255, np.uint8)
    mask[15:30, 20:33] = 0
    for draw in range(20):
        for window in draw_windows(SubjectMask(mask), CapoConfig(), 0, "pair", draw):
            masked = np.where((mask >= 128)[..., None], 0, image)
            inside = np.where((crop(mask, window) >= 128)[..., None], 0, crop(image, window))
            assert np.array_equal(crop(masked, window), inside)
    gaps = torch.linspace(-3, 3, 13)
    for kind in ("huber", "square"):
        assert penalty_of(torch.zeros(1), kind) == 0
        assert torch.equal(penalty_of(gaps, kind), penalty_of(-gaps, kind))


# the formulas, independently


def test_formulas_against_numpy() -> None:
    win, lose, reference_win, reference_lose = (rand(6, seed=s).abs() for s in range(4))
    foreground, weight = rand(6, seed=5).abs(), rand(6, seed=6).abs()
    p_win = torch.linspace(0.5, 1, 6)
    w, lo, rw, rl, f, o, p = (x.double().numpy() for x in (win, lose, reference_win, reference_lose, foreground, weight,
                                                         p_win))  # fmt: skip
    margin = -0.5 * 7.0 * o * ((w - rw) - (lo - rl))
    expected = -(p * -np.log1p(np.exp(-margin)) + (1 - p) * -np.log1p(np.exp(margin))) + 2.5 * f
    result = mask_dpo_loss(
        win, lose, reference_win, reference_lose, foreground, beta=7.0, foreground_weight=2.5, weight=weight,
        p_win=p_win,
    )  # fmt: skip
    assert np.allclose(result.losses.numpy(), expected, rtol=1e-5)
    assert np.allclose(result.win_rewards.numpy(), -3.5 * o * (w - rw), rtol=1e-4)
    rewards = rand(5, seed=1) * 3
    r = rewards.double().numpy()
    gaps = np.array([abs(r[i] - r[j]) for i in range(5) for j in range(i + 1, 5)])
    huber = np.where(gaps < 1, 0.5 * gaps**2, gaps - 0.5).mean()
    assert float(shared_commonality_loss(rewards)) == pytest.approx(huber, rel=1e-5)
    assert float(shared_commonality_loss(rewards, penalty="square")) == pytest.approx((gaps**2).mean(), rel=1e-5)


def test_pull_up_moves_the_weaker_winner_only() -> None:
    rewards = torch.tensor([0.2, -0.4], requires_grad=True)
    shared_commonality_loss(rewards, pull_up=True).backward()
    assert rewards.grad is not None and rewards.grad[0] == 0 and rewards.grad[1] < 0
    alone = torch.tensor([0.2], requires_grad=True)
    assert shared_commonality_loss(alone) == 0


def test_errors_are_float32_and_regions_may_be_tokens() -> None:
    prediction, target, mask = rand(*SHAPE, seed=1), rand(*SHAPE, seed=2), half_mask()
    assert region_error(prediction.bfloat16(), target, mask).dtype == torch.float32

    def tokens(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        cells = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
        return cells.reshape(batch, height * width // 4, channels * 4)

    by_tokens = region_error(tokens(prediction), tokens(target), tokens(mask.expand(SHAPE)))
    assert torch.allclose(by_tokens, region_error(prediction, target, mask), rtol=1e-5)
    assert torch.equal(region_error(prediction, target, torch.zeros_like(mask)), torch.zeros(3))


def test_area_pooling_keeps_thin_structures_and_boundaries_are_dealt_out() -> None:
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 5] = 0
    pooled = pool_mask(mask, 8, 8)
    assert pooled.min() == 0.75 and pool_mask(mask, 8, 8, mode="nearest").min() == 1
    for boundary, total in (("soft", 64), ("exclude", 56), ("dpo", 64), ("sft", 64)):
        background, foreground = split_regions(pooled, boundary)
        assert float((background + foreground).sum()) == total
    assert split_regions(pooled, "dpo")[1].sum() == 0 and split_regions(pooled, "sft")[1].sum() == 8
