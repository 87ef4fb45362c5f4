"""A plan as a person reads it: a table in GB, TFLOP and hours, and what was picked. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trainer.contract.config import RunConfig

if TYPE_CHECKING:
    from trainer.planning.fit import Fit
    from trainer.planning.machine import Machine
    from trainer.planning.predict import Load

PREFIXES = ("", "k", "M", "G", "T", "P", "E")
LABEL, FIGURE = 28, 12
"""Width of a row's name and of a figure, in characters."""


def quantity(value: float, unit: str) -> str:
    """A number to three digits with a decimal prefix: 73456200000 bytes are "73.5 GB"."""
    power = 0
    while abs(value) >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    digits = 0 if value >= 99.95 or not power else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {PREFIXES[power]}{unit}"


def duration(seconds: float) -> str:
    """ "45 ms", "3.2 s", "5 min 3 s", "5 h 19 min", "7,945 h"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 6000 else f"{minutes / 60:,.0f} h"


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
