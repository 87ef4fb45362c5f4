"""Predictions from configs alone, held against the same step on real weights: FLOPs, memory, sizes, what fits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.backbones.families import FAMILIES
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError
from trainer.planning.architecture import architecture_of
from trainer.planning.fit import fit
from trainer.planning.machine import Machine, Rates, card, this_machine
from trainer.planning.meter import CPU_ATTENTION, Meter, Operation
from trainer.planning.predict import Load, predict, rows_of
from trainer.planning.shadow import pixel_multiple
from trainer.planning.simulate import Walk

SIDE = 64
PROMPT = "a red car on the street at night " * 3
"""As long as a plan takes a prompt to be, where it is not padded to a fixed length anyway."""
HERE = Machine("cpu", "this computer", 2**33, 2**33)


def config_of(base: str, **training: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"base": base, "dtype": "float32"},
            "lora": {"rank": 4},
            "training": {"pairs_per_step": 2, "encode_batch": 1, **training},
            "samples": {"every": 0},
        }
    )


@lru_cache(maxsize=1)
def real(base: str) -> Any:
    from trainer.backbones.load import load_backbone

    backbone = load_backbone(base, dtype="float32", device="cpu")
    backbone.add_adapter(4, 4, "all", 0)
    return backbone


def inputs(backbone: Any, rows: int) -> tuple[Any, ...]:
    pixels, mask = torch.zeros(rows, 3, SIDE, SIDE), torch.ones(rows, 1, SIDE, SIDE)
    mask[..., 20:40, 20:40] = 0
    text = backbone.encode_text([PROMPT] * rows, pixels, mask)
    noisy = torch.randn(rows, *backbone.latent_shape(SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    return noisy, torch.full((rows,), 0.5), backbone.encode_condition(pixels, mask), text


def shared(backbone: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """With what a ControlNet adds, which a step computes once for policy and reference."""
    noisy, t, condition, text = given
    return noisy, t, condition | backbone.residuals(*given), text


@pytest.mark.parametrize("family", list(FAMILIES))
def test_flops_memory_and_sizes_agree_with_the_model(family: str) -> None:
    """Every debug backbone, within 15 %: the promise of `plan`."""
    config = config_of(f"{family}_debug")
    predicted, rows = predict(config, Load(SIDE, SIDE, 10), HERE, baseline=0), rows_of(config)
    backbone = real(f"{family}_debug")
    given, known = inputs(backbone, rows.policy), shared(backbone, inputs(backbone, rows.reference))

    def step() -> None:
        with torch.no_grad(), backbone.reference():
            backbone.predict(*known)
        held = shared(backbone, given)
        backbone.predict(*held).square().sum().backward()
        backbone.denoiser.zero_grad(set_to_none=True)

    counter = FlopCounterMode(display=False, custom_mapping={p: _shapes(f) for p, f in CPU_ATTENTION.items()})
    with counter:
        step()
    assert predicted["flops_per_step"] == pytest.approx(counter.get_total_flops(), rel=0.15)
    with Meter() as meter:
        step()
    assert meter.flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    kept = sum(value.nbytes for each in given for value in (each.values() if isinstance(each, dict) else [each]))
    assert predicted["activation_bytes"] == pytest.approx(meter.peak + kept, rel=0.15)
    assert pixel_multiple(architecture_of(f"{family}_debug")) == backbone.pixel_multiple
    sizes = backbone.sizes()
    assert predicted["trainable_parameters"] == sizes["adapter"]
    frozen = 4 * sum(size for name, size in sizes.items() if name != "adapter")
    assert predicted["frozen_bytes"] + predicted["encoder_bytes"] == pytest.approx(frozen, rel=0.15)


def _shapes(formula: Any) -> Any:
    """A formula over tensors as the counter calls it: over shapes."""

    def count(*shapes: Any, out_shape: Any = None, **_: Any) -> int:
        tensors = [torch.empty(shape, device="meta") if isinstance(shape, torch.Size) else shape for shape in shapes]
        return int(formula(*tensors))

    return count


def test_rows_follow_the_objective_and_a_cached_reference_needs_none() -> None:
    config = config_of("flux_fill_debug", micro_batch=1)
    assert rows_of(config) == (rows := rows_of(config))
    assert (rows.policy, rows.policy_in_step, rows.forwards) == (5, 10, 2)
    cached = apply_overrides(config, {"reference.source": "cache", "objective.replay.weight": 1})
    assert (rows_of(cached).reference, rows_of(cached).reference_in_step, rows_of(cached).policy_in_step) == (0, 0, 12)


def test_checkpointing_saves_memory_and_costs_a_forward() -> None:
    plain = predict(config_of("flux_fill_debug"), Load(SIDE, SIDE, 1), HERE, baseline=0)
    kept = predict(config_of("flux_fill_debug", checkpointing=True), Load(SIDE, SIDE, 1), HERE, baseline=0)
    assert kept["activation_bytes"] < plain["activation_bytes"]
    assert 1.1 < kept["flops_per_step"] / plain["flops_per_step"] < 1.6


@pytest.fixture
def ten_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose forward of one row holds 3 GB without checkpointing and 1 GB with it, 10 GB of weights."""
    from trainer.planning import fit as module
    from trainer.planning.simulate import NOTHING, Cost

    def walked(config: RunConfig, load: Load, machine: Machine) -> Walk:
        rows, each = rows_of(config).policy, 10**9 if config.training.checkpointing else 3 * 10**9
        policy, encoding = Cost(0, rows * each, ()), Cost(0, 10**9, ())
        return Walk(policy, NOTHING, encoding, NOTHING, 0, 0, 0, 10 * 10**9, {"transformer": 10 * 10**9})

    monkeypatch.setattr(module, "walk_of", walked)
    monkeypatch.setattr(module, "encoder_parameters", lambda config: 0)


def four_pairs() -> RunConfig:
    off = {"weight": 0}
    config = config_of("any", pairs_per_step=4, encode_batch=16)
    return apply_overrides(config, {"objective.capo": off, "objective.scpo": off})


@pytest.mark.usefixtures("ten_gigabytes")
def test_the_fastest_setting_that_fits_is_taken() -> None:
    config = four_pairs()

    def overrides(gigabytes: int) -> dict[str, Any]:
        return fit(config, Load(SIDE, SIDE, 1), card(gigabytes)).overrides

    assert overrides(140) == _chosen(4, False, 16)
    assert fit(config, Load(SIDE, SIDE, 1), card(140), processes=3).overrides == _chosen(2, False, 16)
    assert overrides(24) == _chosen(1, False, 11)
    assert overrides(14) == _chosen(1, True, 2)
    with pytest.raises(
        ConfigError, match=r"needs 12 GB with one pair at a time and checkpointing, 12 GB card has 10 GB"
    ):
        overrides(12)


@pytest.mark.usefixtures("ten_gigabytes")
def test_the_reference_is_cached_where_no_frozen_copy_fits() -> None:
    """Full fine-tuning: a pair takes 6 GB beside 10 GB of weights and 10 GB of their copy, 2 GB with checkpointing."""
    config = apply_overrides(four_pairs(), {"training.method": "full", "reference.draws": 3})
    load = Load(SIDE, SIDE, 1)
    copied, kept, cached = (fit(config, load, card(gigabytes)) for gigabytes in (140, 25, 24))
    assert copied.overrides == _chosen(4, False, 16) and not copied.changes
    assert kept.overrides == _chosen(1, True, 12)
    assert cached.overrides == _chosen(1, False, 11) | {"reference.source": "cache"}
    assert "3 fixed draws of (noise, t)" in cached.why and "draws" not in kept.why
    assert cached.device_bytes < kept.device_bytes < 25e9
    again = fit(apply_overrides(config, cached.overrides), load, card(24))
    assert again.overrides == _chosen(1, False, 11) and not again.changes
    with pytest.raises(ConfigError, match=r"checkpointing and a cached reference, .* train a LoRA"):
        fit(config, load, card(12))


def test_full_fine_tuning_holds_float32_weights_and_their_copy_on_a_gpu() -> None:
    """Where a LoRA's frozen weights are in bfloat16, with gradients of four bytes."""
    config = apply_overrides(config_of("sd_inpaint_debug"), {"model.dtype": "auto"})
    full = {"training.method": "full"}
    tries: list[dict[str, Any]] = [{}, full, full | {"reference.source": "cache"}]
    lora, copied, cached = (
        predict(apply_overrides(config, changed), Load(SIDE, SIDE, 4), card(24), baseline=0) for changed in tries
    )
    weights = cached["trainable_parameters"]
    assert copied["frozen_bytes"] - cached["frozen_bytes"] == pytest.approx(4 * weights, rel=0.01)
    assert cached["frozen_bytes"] - lora["frozen_bytes"] == pytest.approx(2 * weights, rel=0.01)
    assert copied["encoding_bytes"] == pytest.approx(lora["encoding_bytes"], rel=0.01)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_average_and_the_best_weights_are_held_beside_the_trained_ones(method: str) -> None:
    config = config_of("sd_inpaint_debug", method=method)

    def planned(**changed: Any) -> dict[str, float]:
        settings = {name.replace("_", ".", 1): value for name, value in changed.items()}
        return predict(apply_overrides(config, settings), Load(SIDE, SIDE, 4), card(24), baseline=0)

    plain, average, both = planned(), planned(training_ema=0.9), planned(training_ema=0.9, validation_patience=2)
    weights = 4 * plain["trainable_parameters"]
    for phase in ("trained_bytes", "training_bytes", "sampling_bytes"):
        swapped = weights if phase == "sampling_bytes" else 0
        assert average[phase] - plain[phase] == weights + swapped
        assert both[phase] - average[phase] == weights


def _chosen(micro_batch: int, checkpointing: bool, encode_batch: int) -> dict[str, Any]:
    return {
        "training.micro_batch": micro_batch,
        "training.checkpointing": checkpointing,
        "training.encode_batch": encode_batch,
    }


def test_a_roofline_takes_the_slower_of_arithmetic_and_memory() -> None:
    rates = Rates(flops=100.0, bytes=10.0, overhead=0.5)
    assert rates.seconds([Operation(200, 10), Operation(0, 40), Operation(0, 0)]) == pytest.approx(2 + 4 + 1.5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_are_timed_in_the_type_that_a_gpu_computes_in(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.planning import predict as module

    timed: list[torch.dtype] = []

    def kept(rows: int, width: int, dtype: torch.dtype, device: str) -> Rates:
        timed.append(dtype)
        return Rates(1.0, 1.0, 1.0)

    monkeypatch.setattr(module, "measure_rates", kept)
    module._rates(apply_overrides(config_of("any"), {"model.dtype": dtype}), card(24))
    assert timed == [getattr(torch, dtype)]


def test_a_plan_here_tells_time_and_one_for_a_card_elsewhere_does_not() -> None:
    config = config_of("flux_fill_debug")
    here = predict(config, Load(SIDE, SIDE, 4), this_machine(), baseline=10**9)
    assert here["seconds_per_step"] > 0 and here["host_bytes"] > 10**9 and here["epochs"] == 500
    if not torch.cuda.is_available():
        assert "seconds_per_step" not in predict(config, Load(SIDE, SIDE, 4), card(24))


@pytest.mark.slow
def test_known_bases_have_their_published_sizes() -> None:
    """Without a network and without weights."""
    from trainer.planning.known import KNOWN
    from trainer.planning.shadow import shadow_backbone, shadow_mode

    published = {
        "black-forest-labs/FLUX.1-Fill-dev": 11_902_391_360,
        "stable-diffusion-v1-5/stable-diffusion-inpainting": 859_535_364,
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": 2_567_478_084,
    }
    for base, size in published.items():
        with shadow_mode():
            backbone = shadow_backbone(KNOWN[base](), torch.bfloat16, torch.float32)
            assert sum(parameter.numel() for parameter in backbone.denoiser.parameters()) == size


def test_a_small_models_step_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each forward once with all that is around it; random numbers, threads and types stay as they were."""
    from trainer.planning import predict as module
    from trainer.planning.rehearse import Rehearsal, rehearse

    seen: list[Rehearsal] = []

    def kept(*given: Any, **more: Any) -> Rehearsal:
        seen.append(rehearse(*given, **more))
        return seen[-1]

    monkeypatch.setattr(module, "rehearse", kept)
    config = config_of("flux_fill_debug", micro_batch=1, threads=1)
    random, count = torch.random.get_rng_state(), torch.get_num_threads()
    predicted = predict(config, Load(SIDE, SIDE, 4), this_machine())
    assert torch.equal(random, torch.random.get_rng_state())
    assert torch.get_num_threads() == count
    (found,) = seen
    forwards = 2 * (found.policy + found.reference + module.AROUND_FORWARD)
    assert predicted["seconds_per_step"] == pytest.approx(forwards + found.update)
    assert min(found.policy, found.reference, found.update) > 0


@pytest.mark.parametrize("changed", [{"training.method": "full"}, {"reference.source": "cache"}])
def test_other_kinds_of_run_are_rehearsed(changed: dict[str, Any]) -> None:
    """The families with an adapter are in `test_flops_memory_and_sizes_agree_with_the_model`."""
    values = predict(apply_overrides(config_of("sd_inpaint_debug"), changed), Load(SIDE, SIDE, 4), this_machine())
    assert values["seconds_per_step"] > 0
