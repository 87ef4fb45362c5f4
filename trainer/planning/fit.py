"""What to set so that a run fits a machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil

from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError
from trainer.planning.machine import USABLE, Machine
from trainer.planning.predict import CONTEXT, Load, encoder_parameters, memory_of, rows_of, stored_type, walk_of


@dataclass(frozen=True)
class Fit:
    """What to set so that a run fits a machine, and what it then takes of the device."""

    overrides: dict[str, Any]
    device_bytes: float


def fit(config: RunConfig, load: Load, machine: Machine) -> Fit:
    """Micro-batch, checkpointing and encoding batch for a machine: the fastest that fits.

    Checkpointing recomputes the forward, so it is taken only where a single pair does not fit without. Raises
    ConfigError where nothing fits, with what is missing.
    """
    room = machine.memory * USABLE - (CONTEXT if machine.is_gpu else psutil.Process(os.getpid()).memory_info().rss)
    small = _override(config, micro_batch=1, checkpointing=False)
    images = _images_at_once(small, load, machine, room)
    least = float("inf")
    for checkpointing in (False, True):
        tried = _override(small, checkpointing=checkpointing, encode_batch=images)
        rows, walked = rows_of(tried), walk_of(tried, load, machine)
        memory = memory_of(tried, walked, stored_type(tried, machine), encoder_parameters(tried))
        fixed = memory["training_bytes"] - memory["activation_bytes"] + walked.trained * 4
        each = (memory["activation_bytes"] - walked.trained * 4) / rows.policy
        others = max(memory["encoding_bytes"], memory["sampling_bytes"])
        least = min(least, max(others, memory["training_bytes"]))
        for micro in range(config.training.pairs_per_step, 0, -1):
            candidate = _override(tried, micro_batch=micro)
            needed = max(others, fixed + each * rows_of(candidate).policy)
            if needed <= room:
                return Fit(
                    {
                        "training.micro_batch": micro,
                        "training.checkpointing": checkpointing,
                        "training.encode_batch": images,
                    },
                    needed + (CONTEXT if machine.is_gpu else 0),
                )
    raise ConfigError(
        "does_not_fit",
        f"{config.model.base} at {load.width}x{load.height} pixels needs {least / 1e9:.0f} GB with one pair at a time "
        f"and checkpointing, {machine.name} has {room / 1e9:.0f} GB to give: take smaller images, a smaller rank, a "
        "smaller base or a larger machine.",
    )


def _override(config: RunConfig, **training: Any) -> RunConfig:
    return apply_overrides(config, {f"training.{name}": value for name, value in training.items()})


def _images_at_once(config: RunConfig, load: Load, machine: Machine, room: float) -> int:
    """The largest encoding batch that fits, up to the config's own."""
    one = walk_of(_override(config, encode_batch=1), load, machine)
    left = room - sum(one.bytes_by_part.values()) - encoder_parameters(config) * stored_type(config, machine).itemsize
    return max(1, min(config.training.encode_batch, int(left // max(1, one.encode.peak))))
