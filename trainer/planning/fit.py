"""What to set so that a run fits a machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import psutil

from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError
from trainer.planning.machine import CARDS, USABLE, Machine, card
from trainer.planning.predict import CONTEXT, Load, encoder_parameters, memory_of, rows_of, stored_type, walk_of
from trainer.planning.simulate import NOTHING, Walk

FITTED = ("micro_batch", "checkpointing", "encode_batch")
"""Values of the config's `training` that are picked."""


@dataclass(frozen=True)
class Fit:
    """What to set so that a run fits a machine, whether that changes anything, the memory it then takes of the device,
    and why it was picked."""

    overrides: dict[str, Any]
    changes: bool
    device_bytes: float
    why: str


def fit(config: RunConfig, load: Load, machine: Machine, processes: int = 1) -> Fit:
    """Micro-batch, checkpointing, encoding batch and the reference's source for a machine: the fastest that fits.

    Checkpointing recomputes the forward, so it is taken only where a single pair does not fit without; a cached
    reference sees a few fixed draws of noise, so it comes last. Of several `processes`, each with a card of its own, no
    one takes more than its share of a step. Raises ConfigError where nothing fits, with what is missing.
    """
    return _fit(config, _walked(config, load, machine), load, machine, processes)


def fitted_cards(config: RunConfig, load: Load) -> dict[int, Fit | None]:
    """What fits cards of 24, 48, 80 and 140 GB; None where nothing does."""
    walked, found = _walked(config, load, card(CARDS[0])), dict[int, Fit | None]()
    for size in CARDS:
        try:
            found[size] = _fit(config, walked, load, card(size))
        except ConfigError:
            found[size] = None
    return found


def _walked(config: RunConfig, load: Load, machine: Machine) -> Callable[[bool], Walk]:
    """The walk of one pair at a time, without checkpointing or with it; each is done when it is first asked for."""

    @cache
    def walked(checkpointing: bool) -> Walk:
        return walk_of(_override(config, micro_batch=1, checkpointing=checkpointing), load, machine)

    return walked


def _rungs(config: RunConfig, walked: Callable[[bool], Walk]) -> Iterator[tuple[RunConfig, Walk]]:
    """What is tried, the fastest first, and one pair's walk by it.

    A cached reference spares full fine-tuning the frozen copy. A LoRA's reference is the same weights, and its forward
    holds less than the policy's, so there it would spare no memory.
    """
    for checkpointing in (False, True):
        yield _override(config, micro_batch=1, checkpointing=checkpointing), walked(checkpointing)
    copied = config.training.method == "full" and config.reference.source == "model"
    if copied and (config.objective.prefers or config.validation.every):
        cached = apply_overrides(config, {"reference.source": "cache"})
        for checkpointing in (False, True):
            small = _override(cached, micro_batch=1, checkpointing=checkpointing)
            yield small, replace(walked(checkpointing), reference=NOTHING)


def _fit(config: RunConfig, walked: Callable[[bool], Walk], load: Load, machine: Machine, processes: int = 1) -> Fit:
    context = CONTEXT if machine.is_gpu else psutil.Process(os.getpid()).memory_info().rss
    room, least = machine.memory * USABLE - context, float("inf")
    for small, walk in _rungs(config, walked):
        images = _images_at_once(small, walk, machine, room)
        tried = _override(small, encode_batch=images)
        memory = memory_of(tried, walk, stored_type(tried, machine), encoder_parameters(tried))
        gradients = walk.trained * 4
        fixed = memory["training_bytes"] - memory["activation_bytes"] + gradients
        each = (memory["activation_bytes"] - gradients) / rows_of(small).policy
        others = max(memory["encoding_bytes"], memory["sampling_bytes"])
        least = min(least, max(others, memory["training_bytes"]))
        for micro in range(-(-config.training.pairs_per_step // processes), 0, -1):
            picked = _override(tried, micro_batch=micro)
            needed = max(others, fixed + each * rows_of(picked).policy)
            if needed <= room:
                before = _override(config, micro_batch=config.training.micro_batch or config.training.pairs_per_step)
                return Fit(_set(picked, config), picked != before, needed + context, _why(picked, config, processes))
    ways = "one pair at a time and checkpointing"
    if small.reference.source != config.reference.source:
        ways = "one pair at a time, checkpointing and a cached reference"
    smaller = "train a LoRA (training.method=lora)" if config.training.method == "full" else "take a smaller rank"
    raise ConfigError(
        "does_not_fit",
        f"{config.model.base} at {load.width}x{load.height} pixels needs {least / 1e9:.0f} GB with {ways}, "
        f"{machine.name} has {room / 1e9:.0f} GB to give: take smaller images, {smaller}, a "
        "smaller base or a larger machine.",
    )


def _set(picked: RunConfig, config: RunConfig) -> dict[str, Any]:
    """What is to be set, by dotted keys; the reference's source only where it is another."""
    values = {f"training.{name}": getattr(picked.training, name) for name in FITTED}
    if picked.reference.source != config.reference.source:
        values["reference.source"] = picked.reference.source
    return values


def _why(picked: RunConfig, config: RunConfig, processes: int) -> str:
    """One sentence on what was given up so that it fits."""
    micro, pairs, draws = picked.training.micro_batch, picked.training.pairs_per_step, picked.reference.draws
    share = "all pairs" if processes == 1 else "a process's share"
    whole = (micro or pairs) * processes >= pairs
    held = f"{share} of a step fit in one forward" if whole else f"no more than {micro} of {pairs} pairs fit"
    if picked.training.checkpointing:
        held += ", none without computing the forward again in the backward"
    if picked.reference.source != config.reference.source:
        held += (
            "; no frozen copy fits beside the trained model, so the reference's errors are computed before the first "
            f"step, and training sees only {draws} fixed draws of (noise, t) for each pair (reference.draws)"
        )
    return f"{held}."


def _override(config: RunConfig, **training: Any) -> RunConfig:
    return apply_overrides(config, {f"training.{name}": value for name, value in training.items()})


def _images_at_once(config: RunConfig, walked: Walk, machine: Machine, room: float) -> int:
    """The largest encoding batch that fits, up to the config's own."""
    left = (
        room - sum(walked.bytes_by_part.values()) - encoder_parameters(config) * stored_type(config, machine).itemsize
    )
    return max(1, min(config.training.encode_batch, int(left // max(1, walked.encode.peak))))
