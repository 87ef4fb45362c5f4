"""Timesteps, noise and targets of discrete schedules, against diffusers' own schedulers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.contract.errors import ModelError

torch = pytest.importorskip("torch")

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def schedule(kind: str = "DDPMScheduler", **settings: Any) -> tuple[Any, Any]:
    import diffusers

    from trainer.backbones.diffusion import DiscreteSchedule

    scheduler = getattr(diffusers, kind)(**{**STABLE, **settings})
    return scheduler, DiscreteSchedule(scheduler, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_noise_and_velocity_are_the_scheduler_s(kind: str) -> None:
    scheduler, ours = schedule(kind, prediction_type="v_prediction")
    clean, noise = torch.randn(5, 4, 8, 8), torch.randn(5, 4, 8, 8)
    t = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    index = ours.timesteps(t)
    assert index[0] == 0 and index[-1] == 999
    assert torch.allclose(ours.noisy(clean, noise, t), scheduler.add_noise(clean, noise, index), atol=1e-5)
    assert torch.allclose(ours.target(clean, noise, t), scheduler.get_velocity(clean, noise, index), atol=1e-5)


def test_the_target_follows_the_prediction_type() -> None:
    clean, noise, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.8])
    assert torch.equal(schedule(prediction_type="epsilon")[1].target(clean, noise, t), noise)
    assert torch.equal(schedule(prediction_type="sample")[1].target(clean, noise, t), clean)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_t_is_the_share_of_noise_of_a_flow_of_equal_snr(shares: list[float]) -> None:
    _, ours = schedule()
    t = torch.tensor(sorted(shares), dtype=torch.float32)
    index = ours.timesteps(t)
    assert (index.diff() >= 0).all()
    clean, noise = torch.ones(len(t), 1, 1, 1), torch.zeros(len(t), 1, 1, 1)
    signal = ours.noisy(clean, noise, t).flatten()
    share = ours.noisy(noise, clean, t).flatten() / (signal + ours.noisy(noise, clean, t).flatten())
    first, last = float(ours.shares[0]), float(ours.shares[-1])
    wanted = first + t * (last - first)
    assert (share - wanted).abs().max() <= ours.shares.diff().max() / 2 + 1e-6, "not the nearest timestep"
    assert torch.allclose(((1 - share) / share).square(), (signal.square() / (1 - signal.square())), rtol=1e-3)


def test_high_noise_means_the_same_as_for_flow() -> None:
    """Stable Diffusion's schedule reaches from 3 % to 94 % noise; the window [0.7, 1] is its upper part."""
    _, ours = schedule()
    assert ours.shares[0] == pytest.approx(0.028, abs=1e-3) and ours.shares[-1] == pytest.approx(0.936, abs=1e-3)
    index = ours.timesteps(torch.tensor([0.7, 1.0]))
    assert ours.shares[index].tolist() == pytest.approx([0.664, 0.936], abs=2e-3)
    assert index[0] > 500


def test_zero_terminal_snr_reaches_pure_noise() -> None:
    _, ours = schedule(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    assert float(ours.shares[-1]) == pytest.approx(1.0, abs=1e-3)


def test_other_schedulers_are_refused_or_replaced() -> None:
    import diffusers

    from trainer.backbones.diffusion import DiscreteSchedule, deterministic

    with pytest.raises(ModelError, match="needs a DDPM schedule"):
        DiscreteSchedule(diffusers.FlowMatchEulerDiscreteScheduler(), torch.device("cpu"))
    euler = diffusers.EulerDiscreteScheduler(**STABLE)
    assert deterministic(euler) is euler
    ancestral = diffusers.EulerAncestralDiscreteScheduler(**STABLE, prediction_type="v_prediction")
    replaced = deterministic(ancestral)
    assert isinstance(replaced, diffusers.DDIMScheduler) and replaced.config.prediction_type == "v_prediction"
