"""What a run will cost, before any weight is loaded: memory, FLOPs and time of a step.

A step is walked through on tensors without values (`trainer.planning`), with the family's own code, the real shapes and
types, LoRA, backward and checkpointing. So memory and FLOPs are counted, not estimated by rules; time is a roofline
over the counted operations with rates measured on this machine, and for small models on a CPU that of a rehearsal.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import psutil
import torch

from trainer.backbones.load import compute_type
from trainer.contract.config import RunConfig
from trainer.contract.errors import ConfigError
from trainer.contract.snapshot import Snapshot
from trainer.data.rows import slots_of
from trainer.data.source import check_sizes, fitting_sides
from trainer.planning.architecture import Architecture, architecture_of
from trainer.planning.machine import Machine, Rates, measure_rates
from trainer.planning.rehearse import rehearse, threads
from trainer.planning.shadow import pixel_multiple
from trainer.planning.simulate import Walk, walk

MOMENTS = 2
"""Running moments that AdamW keeps of each trained weight, in float32."""
CONTEXT = 600 * 2**20
"""Memory of a GPU that its driver and libraries take before the first tensor."""
REHEARSED_BYTES = 256 * 2**20
"""Weights up to which a model's step is timed on a CPU instead of being estimated."""
AROUND_FORWARD = 3e-3
"""Seconds around a forward on a CPU, measured: its rows read, their noise drawn, the loss put together."""
UPDATE_KERNELS = 12
"""Operations by which AdamW and clipping update one tensor."""


@dataclass(frozen=True)
class Load:
    """What a run asks of a machine: images of `height` x `width` pixels, `pairs` to train on (None: not known), prompts
    of at most `words` words."""

    height: int
    width: int
    pairs: int | None
    words: int = 24


def load_of(snapshot: Snapshot, config: RunConfig) -> Load:
    """The load of a snapshot: its largest training images, which decide the memory.

    Raises SnapshotError where the config's model cannot take an image's size, ModelError where the base's configs
    cannot be found.
    """
    check_sizes(snapshot.conditions, _pixel_multiple(config))
    pairs = snapshot.pairs_of("train")
    rows = [snapshot.by_id[pair.condition_id] for pair in pairs] or list(snapshot.conditions)
    largest = max(rows, key=lambda row: row.width * row.height)
    return Load(largest.height, largest.width, len(pairs), max(len(row.prompt.split()) for row in rows))


def load_of_size(side: int, config: RunConfig) -> Load:
    """The load of square images without a snapshot. Raises ConfigError for a side that the model cannot take."""
    multiple = _pixel_multiple(config)
    if side < 1 or side % multiple:
        near = sorted({found for found in fitting_sides(side, multiple) if found > 0} or {multiple})
        raise ConfigError(
            "size_multiple",
            f"--size {side}: this model needs images whose sides are multiples of {multiple} pixels: take "
            f"{' or '.join(map(str, near))}.",
        )
    return Load(side, side, None)


@dataclass(frozen=True)
class Rows:
    """Rows through the policy (forward and backward) and the reference (forward): at most at once, and in a step."""

    policy: int
    reference: int
    policy_in_step: int
    reference_in_step: int
    forwards: int


def rows_of(config: RunConfig) -> Rows:
    """The rows of a step's forwards; a cached reference needs none."""
    slots = slots_of(config.training.pairs_per_step, config.training.micro_batch, config.objective)
    preferring = [2 * len(s.pairs) + 2 * len(s.capo) + len(s.scpo) for s in slots]
    rows = [count + len(s.replay) for count, s in zip(preferring, slots, strict=True)]
    if config.reference.source == "cache":
        preferring = [0] * len(slots)
    return Rows(max(rows), max(preferring), sum(rows), sum(preferring), len(slots))


def predict(config: RunConfig, load: Load, machine: Machine, *, baseline: int | None = None) -> dict[str, float]:
    """Memory, FLOPs and time of a run on a machine, and what they are made of; bytes, FLOPs, seconds.

    `baseline` is what the process holds once everything is imported: this process's memory if not given. Raises
    ModelError where the base's configs cannot be found.
    """
    rows, walked, stored = rows_of(config), walk_of(config, load, machine), stored_type(config, machine)
    memory = memory_of(config, walked, stored, encoder_parameters(config))
    seconds = _seconds_here(config, load, machine, walked)  # before the baseline: the process keeps what it took
    baseline = psutil.Process(os.getpid()).memory_info().rss if baseline is None else baseline
    policy = walked.policy.flops * rows.policy_in_step / rows.policy
    reference = walked.reference.flops * rows.reference_in_step / max(1, rows.reference)
    device = max(memory["encoding_bytes"], memory["training_bytes"], memory["sampling_bytes"])
    steps = config.training.steps
    values: dict[str, float] = {
        "device_bytes": device + CONTEXT if machine.is_gpu else baseline + device,
        "host_bytes": baseline + (memory["frozen_bytes"] + memory["encoder_bytes"] if machine.is_gpu else device),
        "baseline_bytes": baseline,
        **memory,
        "flops_per_step": policy + reference,
        "flops_per_pair": (policy + reference) / config.training.pairs_per_step,
        "flops_per_forward": walked.policy.flops + walked.reference.flops,
        "policy_rows": rows.policy_in_step,
        "reference_rows": rows.reference_in_step,
        "forwards": rows.forwards,
        "trainable_parameters": walked.trained,
        "steps": steps,
    }
    if load.pairs is not None:
        seen = steps * config.training.pairs_per_step
        values |= {"train_pairs": load.pairs, "epochs": seen / max(1, load.pairs)}
    if seconds:
        speed = config.training.pairs_per_step / seconds
        values |= {"seconds_per_step": seconds, "pairs_per_second": speed, "seconds_in_all": seconds * steps}
    return {name: float(value) for name, value in values.items()}


def _seconds_here(config: RunConfig, load: Load, machine: Machine, walked: Walk) -> float | None:
    """Seconds of a step where `machine` is of this computer's kind."""
    if machine.device != ("cuda" if torch.cuda.is_available() else "cpu"):
        return None
    small = not machine.is_gpu and sum(walked.bytes_by_part.values()) <= REHEARSED_BYTES
    return _rehearsed(config, load) if small else _seconds(walked, rows_of(config), _rates(config, machine))


def stored_type(config: RunConfig, machine: Machine) -> torch.dtype:
    """The type of frozen weights, as loading chooses it."""
    if not machine.is_gpu:
        return torch.float32
    return torch.float32 if config.model.dtype == "float32" else torch.bfloat16


def encoder_parameters(config: RunConfig) -> int:
    return sum(_architecture(config.model.base, config.model.revision).encoders.values())


@lru_cache(maxsize=8)
def _architecture(base: str, revision: str | None) -> Architecture:
    return architecture_of(base, revision)


def _pixel_multiple(config: RunConfig) -> int:
    return pixel_multiple(_architecture(config.model.base, config.model.revision))


def walk_of(config: RunConfig, load: Load, machine: Machine) -> Walk:
    """The walk through a run's step on a kind of machine."""
    rows = rows_of(config)
    compute = torch.float32 if machine.is_gpu else compute_type(config.model.dtype, torch.device("cpu"))
    return walk(
        _architecture(config.model.base, config.model.revision),
        config,
        height=load.height,
        width=load.width,
        words=load.words,
        policy_rows=rows.policy,
        reference_rows=rows.reference,
        stored=stored_type(config, machine),
        compute=compute,
        checkpointing=config.training.checkpointing,
    )


def memory_of(config: RunConfig, walked: Walk, stored: torch.dtype, encoders: int) -> dict[str, float]:
    """Bytes by what they are for, and of the three phases whose largest is the peak."""
    loaded = frozen = sum(walked.bytes_by_part.values())  # loaded: while encoding
    encoding = encoders * stored.itemsize
    weights = walked.trained * 4
    averaged = weights if config.training.ema else 0
    held = averaged + (weights if config.validation.patience else 0)
    trained = weights * (1 + MOMENTS) + held
    if config.training.method == "full":  # the weights themselves are counted among the frozen ones
        trained = weights * MOMENTS + held
        frozen += walked.denoiser if config.reference.source == "model" else 0
        loaded -= walked.trained * (4 - stored.itemsize)
    shown = config.samples.conditions if config.samples.every else 0
    activations = max(walked.policy.peak, walked.reference.peak) + walked.inputs
    return {
        "frozen_bytes": frozen,
        "encoder_bytes": encoding,
        "trained_bytes": trained,
        "activation_bytes": activations,
        "encoding_bytes": loaded + encoding + walked.encode.peak * config.training.encode_batch,
        "training_bytes": frozen + trained + activations,
        "sampling_bytes": frozen + trained + weights + averaged + walked.decode.peak * shown,
    }


def _rehearsed(config: RunConfig, load: Load) -> float:
    rows, architecture = rows_of(config), _architecture(config.model.base, config.model.revision)
    found = rehearse(
        architecture, config, height=load.height, width=load.width, words=load.words, policy_rows=rows.policy,
        reference_rows=rows.reference,
    )  # fmt: skip
    return rows.forwards * (found.policy + found.reference + AROUND_FORWARD) + found.update


def _rates(config: RunConfig, machine: Machine) -> Rates:
    compute = compute_type(config.model.dtype, torch.device(machine.device))
    with threads(config.training.threads):
        return measure_rates(2048 if machine.is_gpu else 256, 3072 if machine.is_gpu else 512, compute, machine.device)


def _seconds(walked: Walk, rows: Rows, rates: Rates) -> float:
    forward = rates.seconds(walked.policy.operations) * rows.policy_in_step / rows.policy
    reference = rates.seconds(walked.reference.operations) * rows.reference_in_step / max(1, rows.reference)
    update = UPDATE_KERNELS * (walked.trained_tensors * rates.overhead + walked.trained * 8 / rates.bytes)
    return forward + reference + update
