"""`bench/train.py --device cuda`: steps of a FLUX-12B-shaped transformer at 1024 px in bfloat16, random weights.

No text encoder and no snapshot: latents, condition and text are random tensors of the right shapes, as a filled cache
would give them. Ours: LoRA, one forward of all rows, the adapter off or a cached reference. Beside us the plain loop's
step: a frozen second copy, three encodings and four forwards of one row a pair (its text encoders are left out, which
is to its advantage). Model FLOPs are counted by `trainer.planning`, without what checkpointing computes again.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from trainer.backbones.flux_fill import FluxFillBackbone
from trainer.contract.config import RunConfig
from trainer.contract.objective import ObjectiveConfig
from trainer.data.rows import Batch, Layout
from trainer.objectives import error_map
from trainer.planning.known import flux_fill
from trainer.planning.machine import Machine
from trainer.planning.predict import Load, predict
from trainer.telemetry import utilisation
from trainer.terms import StepCounts, combine, errors_of

SIDE = 1024
STEPS = 5
WARM_UP = 2
BASE = "black-forest-labs/FLUX.1-Fill-dev"
OFF = {"weight": 0.0}
MASK_DPO = {"capo": OFF, "scpo": OFF, "replay": OFF}
CHECKPOINTING = ("mask_dpo_checkpointing", "full")
"""Arms of ours that have it anyway: the first is beside a plain loop that needs it."""
FULL = {"capo": {"weight": 0.5}, "scpo": {"weight": 0.1}, "replay": {"weight": 1.0}}


class _Words:
    model_max_length = 512


def backbone_of() -> Any:
    """FLUX.1 Fill's transformer and autoencoder on the GPU with random weights, and its own code around them."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel

    parts = flux_fill().parts
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            transformer = FluxTransformer2DModel.from_config(parts["transformer"].config)
            vae = AutoencoderKL.from_config(parts["vae"].config)
    finally:
        torch.set_default_dtype(before)
    pipeline = FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae, text_encoder=None, tokenizer=None, text_encoder_2=None,
        tokenizer_2=None, transformer=transformer,
    )  # fmt: skip
    pipeline.tokenizer_2 = _Words()
    backbone = FluxFillBackbone(pipeline, "cuda")
    backbone.add_adapter(32, 32, "attention_mlp", 0)
    return backbone


def batch_of(backbone: Any, layout: Layout) -> Batch:
    rows = layout.referenced + layout.replay
    shape = (rows, *backbone.latent_shape(SIDE, SIDE))
    clean, noise = (torch.randn(shape, device="cuda") for _ in range(2))
    t = torch.linspace(0.1, 0.9, rows, device="cuda")
    mask = torch.ones(1, 1, SIDE, SIDE, device="cuda")
    mask[..., 256:640, 256:640] = 0
    condition = backbone.encode_condition(torch.zeros(1, 3, SIDE, SIDE), mask)
    text = {"embeds": torch.randn(rows, 512, 4096, device="cuda"), "pooled": torch.randn(rows, 768, device="cuda")}
    region = torch.nn.functional.interpolate(mask, size=shape[2:], mode="area").expand(rows, 1, *shape[2:])
    condition = {name: value.expand(rows, *value.shape[1:]) for name, value in condition.items()}
    target = backbone.target(clean, noise, t)
    return Batch((), clean, t, backbone.noisy(clean, noise, t), target, condition, text, region)


def layout_of(pairs: int, full: bool) -> Layout:
    extra = pairs if full else 0
    return Layout(pairs, extra, extra, extra, torch.ones(pairs), torch.ones(pairs))


def ours(backbone: Any, objective: ObjectiveConfig, layout: Layout, cached: bool) -> Callable[[], Tensor]:
    """One step: the reference's maps, the policy's forward over all rows, the loss, its gradient, AdamW."""
    batch = batch_of(backbone, layout)
    optimizer = torch.optim.AdamW(backbone.trainable().values(), lr=1e-5, foreach=True)
    counts = StepCounts(layout.pairs, layout.capo, layout.scpo, layout.replay)
    first = batch.first(layout.referenced)

    def reference() -> Tensor:
        with torch.no_grad(), backbone.reference():
            return error_map(backbone.predict(first.noisy, first.t, first.condition, first.text), first.target)

    kept = reference() if cached else None

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        known = errors_of(reference() if kept is None else kept, batch, layout, objective)
        maps = error_map(backbone.predict(batch.noisy, batch.t, batch.condition, batch.text), batch.target)
        loss = combine(errors_of(maps, batch, layout, objective), known, batch, layout, counts, objective).loss
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def plain(backbone: Any, pairs: int) -> Callable[[], Tensor]:
    """The plain loop's step: encodings, four forwards of one row a pair, the reference by a second copy."""
    frozen = copy.deepcopy(backbone.denoiser)
    frozen.disable_adapters()
    optimizer = torch.optim.AdamW(backbone.trainable().values(), lr=1e-5)
    batch, pixels = batch_of(backbone, layout_of(1, False)), torch.zeros(1, 3, SIDE, SIDE, device="cuda")

    def error(row: int, model: Any) -> Tensor:
        policy, backbone.denoiser = backbone.denoiser, model
        try:
            condition, text = ({k: v[row : row + 1] for k, v in d.items()} for d in (batch.condition, batch.text))
            one = slice(row, row + 1)
            found = backbone.predict(batch.noisy[one], batch.t[one], condition, text)
            return (found - batch.target[one]).square().mean()
        finally:
            backbone.denoiser = policy

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device="cuda")
        for _ in range(pairs):
            for _ in range(3):
                backbone.encode_images(pixels)
            win, lose = error(0, backbone.denoiser), error(1, backbone.denoiser)
            with torch.no_grad():
                margin = error(0, frozen) - error(1, frozen)
            loss = -torch.nn.functional.logsigmoid(-1000 * (win - lose - margin)) / pairs
            loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def timed(step: Callable[[], Tensor], pairs: int, flops: float | None) -> dict[str, Any]:
    """Pairs a second, peak memory, utilisation."""
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(WARM_UP + STEPS):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    taken = statistics.median(seconds[WARM_UP:])
    return {
        "pairs_per_second": round(pairs / taken, 4),
        "seconds_per_step": round(taken, 4),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
        "tflop_per_pair": round((flops or 0) / pairs / 1e12, 1),
        "model_flops_utilisation": utilisation(flops, taken),
    }


def counted(objective: dict[str, Any], pairs: int, cached: bool) -> float:
    """Useful FLOPs of a step."""
    config = RunConfig.model_validate(
        {
            "model": {"base": BASE, "dtype": "bfloat16"},
            "lora": {"rank": 32, "targets": "attention_mlp"},
            "objective": objective,
            "reference": {"source": "cache" if cached else "model"},
            "training": {"pairs_per_step": pairs},
            "samples": {"every": 0},
        }
    )
    card = Machine("cuda", "this GPU", 2**60, 2**60)
    return predict(config, Load(SIDE, SIDE, 0), card)["flops_per_step"]


def plain_timed(backbone: Any, pairs: int, small: bool) -> dict[str, Any]:
    """The plain loop as our first arms are, or with checkpointing where its second copy leaves no room without."""
    flops = counted(MASK_DPO, pairs, False)
    if not small:
        _set_checkpointing(backbone, False)
        with suppress(torch.OutOfMemoryError):
            return timed(plain(backbone, pairs), pairs, flops) | _checkpointing(backbone)
        torch.cuda.empty_cache()
    _set_checkpointing(backbone, True)
    return timed(plain(backbone, pairs), pairs, flops) | _checkpointing(backbone)


def _set_checkpointing(backbone: Any, on: bool) -> None:
    (backbone.denoiser.enable_gradient_checkpointing if on else backbone.denoiser.disable_gradient_checkpointing)()


def _checkpointing(backbone: Any) -> dict[str, bool]:
    return {"checkpointing": backbone.denoiser.is_gradient_checkpointing}


def measure(pairs: int = 1) -> dict[str, Any]:
    """All arms on one GPU; each tells whether with checkpointing, which all have where a pair would not fit without."""
    backbone = backbone_of()
    small = torch.cuda.get_device_properties(0).total_memory < 130e9
    _set_checkpointing(backbone, small)
    metrics: dict[str, Any] = {}
    for name, values, cached in (
        ("mask_dpo", MASK_DPO, False),
        ("mask_dpo_cached", MASK_DPO, True),
        ("mask_dpo_checkpointing", MASK_DPO, False),
        ("full", FULL, False),
    ):
        objective = ObjectiveConfig.model_validate(values)
        if name in CHECKPOINTING:
            _set_checkpointing(backbone, True)
        step = ours(backbone, objective, layout_of(pairs, name == "full"), cached)
        metrics[name] = timed(step, pairs, counted(values, pairs, cached)) | _checkpointing(backbone)
        del step
    peer = plain_timed(backbone, pairs, small)
    return {"name": "train", "model": "FLUX.1 Fill's shape, random weights", "metrics": metrics, "peer": peer}
