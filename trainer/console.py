"""What a person who waits sees, on stderr: a passing line for the work under way, lasting ones for what happened."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TextIO

from trainer.contract.events import (
    CheckpointEvent,
    Cost,
    Metrics,
    Progress,
    Resumed,
    Sample,
    SelfCheck,
    Started,
    Validation,
    Warn,
)
from trainer.words import duration, quantity

if TYPE_CHECKING:
    from trainer.contract.events import Event

PAUSE_SECONDS = 30.0
"""Time between two passing lines where they cannot be written over: a log is read from its end."""
COUNTED = {
    "encode": "texts, conditions and images encoded",
    "reference": "rows of the reference computed",
    "sample": "images drawn",
}
"""What is counted, by the name of the work."""
COSTS = {
    "flops_per_forward": ("a forward", "FLOP"),
    "device_bytes": ("device memory", "B"),
    "host_bytes": ("host memory", "B"),
    "seconds_per_step": ("a step", "s"),
}


class Console:
    """A sink for people. A run's ending is left to the command that started it, whose last line it is."""

    name = "The console"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._in_place = self._stream.isatty()
        self._passing = ""
        self._told = -math.inf
        self._unfinished = False
        self._total_steps = 0

    def write(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Started | Resumed):
            self._total_steps = event.total_steps
        if isinstance(event, Progress):
            self._count(event.what, event.done, event.total)
        elif isinstance(event, Metrics):
            left = max(0, self._total_steps - event.step)
            self._pass("step", f"step {event.step}/{self._total_steps}  {_pace(event.values, left)}", last=not left)
        elif said := words(event):
            self.say(said)

    def close(self) -> None:
        """End the passing line."""
        if self._unfinished:
            self._put("\n")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._put(("\r\x1b[K" if self._unfinished else "") + text + "\n")

    def counting(self, what: str) -> Callable[[int, int], None]:
        """A report `(done, total)` of the work of this name (see COUNTED)."""
        return partial(self._count, what)

    def _count(self, what: str, done: int, total: int) -> None:
        self._pass(what, f"{done}/{total} {COUNTED.get(what, what)}", last=done >= total)

    def _pass(self, what: str, text: str, *, last: bool) -> None:
        """A line that the next of its kind replaces; in a log one now and then, with the first and the last."""
        if self._in_place:
            self._put(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K" + "\n" * last)
        elif last or what != self._passing or time.monotonic() - self._told >= PAUSE_SECONDS:
            self._put(text + "\n")
            self._told = time.monotonic()
        self._passing = what

    def _put(self, text: str) -> None:
        self._unfinished = not text.endswith("\n")
        self._stream.write(text)
        self._stream.flush()


def words(event: Event) -> str:
    """The line that an event leaves; empty for one that leaves none."""
    match event:
        case Started():
            return f"started: {event.total_steps} steps on {event.device}"
        case Resumed():
            return f"resumed from step {event.step} of {event.total_steps} ({event.checkpoint})"
        case SelfCheck(passed=True):
            return "self-check passed"
        case Validation():
            shown = ("loss_preference", "margin", "accuracy", "d_win")
            return f"validation at step {event.step}: {_figures(event.values, shown)}"
        case Sample(images=[first, *_]):
            return f"samples at step {event.step}: {len(event.images)} images in {first.image.rpartition('/')[0]}"
        case CheckpointEvent():
            return f"checkpoint: {event.path}, {quantity(event.bytes, 'B')}"
        case Warn():
            return f"warning ({event.code}): {event.message}"
        case Cost():
            return "cost, predicted and measured: " + ", ".join(
                _cost(name, predicted, event.measured[name]) for name, predicted in event.predicted.items()
            )
        case _:
            return ""


def _pace(values: dict[str, float], steps_left: int) -> str:
    seconds = values["seconds_per_step"]
    left = f", {duration(seconds * steps_left)} left" if steps_left else ""
    return f"{_figures(values, ('loss', 'margin'))}  {duration(seconds)} a step{left}"


def _figures(values: dict[str, float], names: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {values[name]:.3g}" for name in names if name in values)


def _cost(name: str, predicted: float, measured: float) -> str:
    what, unit = COSTS[name]
    shown = [duration(value) if unit == "s" else quantity(value, unit) for value in (predicted, measured)]
    return f"{what} {shown[0]} and {shown[1]}"
