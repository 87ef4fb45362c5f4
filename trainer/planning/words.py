"""A plan as a person reads it: a table in GB, TFLOP and hours, and what was picked. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trainer.contract.config import RunConfig
from trainer.words import duration, quantity

if TYPE_CHECKING:
    from trainer.planning.fit import Fit
    from trainer.planning.machine import Machine
    from trainer.planning.predict import Load

LABEL, FIGURE = 28, 12
"""Width of a row's name and of a figure, in characters."""


def settings(overrides: Mapping[str, Any]) -> str:
    """What a fit sets, as one gives it on the command line."""
    return " ".join(f"--set {key}={str(value).lower()}" for key, value in overrides.items())


def cards_in_words(fits: Mapping[int, Fit | None]) -> str:
    """A line for each card of so many GB."""
    return "\n".join(
        f"{card:4} GB  " + (f"{quantity(f.device_bytes, 'B'):>7}  {settings(f.overrides)}" if f else "does not fit")
        for card, f in fits.items()
    )


def plan_in_words(
    config: RunConfig,
    load: Load,
    machine: Machine,
    values: Mapping[str, float],
    fit: Fit | None,
    picked: Mapping[str, float],
    problem: str,
) -> str:
    """The table of a plan: `values` as the config is set, `picked` as `fit` sets it, or the `problem` it met."""
    columns = {"as set": values, "as picked": picked} if fit and fit.changes else {"as set": values}
    pairs = f"{config.training.steps:,} steps of {config.training.pairs_per_step} pairs"
    if "epochs" in values:
        pairs += f" from {values['train_pairs']:,.0f}, each seen {values['epochs']:,.3g} times"
    return "\n".join(
        [
            _line("base", [], f"{config.model.base} at {load.width}x{load.height} pixels"),
            _line("trained", [], _trained(config, values)),
            _line("steps", [], pairs),
            "",
            _line("", columns, ""),
            *_table(columns.values(), machine),
            "",
            *(_picked(fit) if fit else [_line("picked", [], f"nothing: {problem}")]),
        ]
    )


def _picked(fit: Fit) -> list[str]:
    taken = [_line("to take it", [], "`train --fit`, or these settings")] if fit.changes else []
    changes = "" if fit.changes else "nothing to change: "
    return [_line("picked", [], changes + settings(fit.overrides)), _line("why", [], fit.why), *taken]


def _trained(config: RunConfig, values: Mapping[str, float]) -> str:
    what = "every weight" if config.training.method == "full" else f"a LoRA of rank {config.lora.rank}"
    return f"{what}, {values['trainable_parameters']:,.0f} parameters"


def _table(columns: Iterable[Mapping[str, float]], machine: Machine) -> list[str]:
    columns = list(columns)

    def row(name: str, key: str, words: Callable[[float], str], note: str = "") -> list[str]:
        figures = [words(values[key]) if key in values else "" for values in columns]
        return [_line(name, figures, note)] if any(figures) else []

    def size(value: float) -> str:
        return quantity(value, "B")

    def work(value: float) -> str:
        return quantity(value, "FLOP")

    host = row("memory of the host", "host_bytes", size, f"of {size(machine.host)} free") if machine.is_gpu else []
    free = f"of {size(machine.memory)} free on {machine.name}"
    return [
        *row("memory of the device" if machine.is_gpu else "memory", "device_bytes", size, free),
        *row("  while encoding", "encoding_bytes", size, "beside what the process holds before"),
        *row("  while training", "training_bytes", size, "of it:"),
        *row("    weights", "frozen_bytes", size),
        *row("    trained and moments", "trained_bytes", size),
        *row("    activations", "activation_bytes", size),
        *row("  while sampling", "sampling_bytes", size),
        *host,
        *row("FLOPs of a step", "flops_per_step", work),
        *row("FLOPs of a pair", "flops_per_pair", work),
        *row("time of a step", "seconds_per_step", duration),
        *row("time of all steps", "seconds_in_all", duration, "without encoding, validation and samples"),
    ]


def _line(name: str, figures: Iterable[str], note: str) -> str:
    cells = "".join(f"{figure:>{FIGURE}}" for figure in figures)
    return f"{name:<{LABEL}}{cells}{'  ' if cells and note else ''}{note}".rstrip()
