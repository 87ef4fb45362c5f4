"""What to set so that a run fits a machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil

from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError
from trainer.planning.machine import CARDS, USABLE, Machine, card
from trainer.planning.predict import CONTEXT, Load, encoder_parameters, memory_of, rows_of, stored_type, walk_of
from trainer.planning.simulate import Walk


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
    return _fit(config, _walks(config, load, machine), load, machine)


def fitted_cards(config: RunConfig, load: Load) -> dict[int, dict[str, Any] | None]:
    """What fits cards of 24, 48, 80 and 140 GB, as values of the config's `training`; None where nothing does."""
    walks, found = _walks(config, load, card(CARDS[0])), {}
    for size in CARDS:
        try:
            chosen = _fit(config, walks, load, card(size)).overrides
            found[size] = {name.partition(".")[2]: value for name, value in chosen.items()}
        except ConfigError:
            found[size] = None
    return found


def _walks(config: RunConfig, load: Load, machine: Machine) -> list[tuple[RunConfig, Walk]]:
    """One pair at a time, without checkpointing and with it."""
    small = [_override(config, micro_batch=1, checkpointing=checkpointing) for checkpointing in (False, True)]
    return [(each, walk_of(each, load, machine)) for each in small]


def _fit(config: RunConfig, walks: list[tuple[RunConfig, Walk]], load: Load, machine: Machine) -> Fit:
    context = CONTEXT if machine.is_gpu else psutil.Process(os.getpid()).memory_info().rss
    room, least = machine.memory * USABLE - context, float("inf")
    for small, walked in walks:
        images = _images_at_once(small, walked, machine, room)
        tried = _override(small, encode_batch=images)
        memory = memory_of(tried, walked, stored_type(tried, machine), encoder_parameters(tried))
        gradients = walked.trained * 4
        fixed = memory["training_bytes"] - memory["activation_bytes"] + gradients
        each = (memory["activation_bytes"] - gradients) / rows_of(small).policy
        others = max(memory["encoding_bytes"], memory["sampling_bytes"])
        least = min(least, max(others, memory["training_bytes"]))
        for micro in range(config.training.pairs_per_step, 0, -1):
            needed = max(others, fixed + each * rows_of(_override(tried, micro_batch=micro)).policy)
            if needed <= room:
                overrides = {
                    "micro_batch": micro,
                    "checkpointing": tried.training.checkpointing,
                    "encode_batch": images,
                }
                return Fit({f"training.{name}": value for name, value in overrides.items()}, needed + context)
    raise ConfigError(
        "does_not_fit",
        f"{config.model.base} at {load.width}x{load.height} pixels needs {least / 1e9:.0f} GB with one pair at a time "
        f"and checkpointing, {machine.name} has {room / 1e9:.0f} GB to give: take smaller images, a smaller rank, a "
        "smaller base or a larger machine.",
    )


def _override(config: RunConfig, **training: Any) -> RunConfig:
    return apply_overrides(config, {f"training.{name}": value for name, value in training.items()})


def _images_at_once(config: RunConfig, walked: Walk, machine: Machine, room: float) -> int:
    """The largest encoding batch that fits, up to the config's own."""
    left = (
        room - sum(walked.bytes_by_part.values()) - encoder_parameters(config) * stored_type(config, machine).itemsize
    )
    return max(1, min(config.training.encode_batch, int(left // max(1, walked.encode.peak))))
