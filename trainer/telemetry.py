"""Where figures go: the event stream, TensorBoard, and the watch for runs that look fine and are not."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.contract.errors import DivergedError
from trainer.contract.events import EventWriter, Metrics, Sample, Validation, Warn

if TYPE_CHECKING:
    from trainer.contract.events import Event

WORSE_IN_A_ROW = 5
"""Log windows in which the winner must be getting worse at full accuracy before it is called degenerate."""


def peak_memory_bytes() -> float:
    """Largest resident set of this process so far, plus the GPU's peak where one is used."""
    unit = 1 if sys.platform == "darwin" else 1024
    host = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    torch = sys.modules.get("torch")
    return host + (float(torch.cuda.max_memory_allocated()) if torch and torch.cuda.is_available() else 0.0)


class Telemetry:
    """Averages figures over the steps of a log window and writes them out."""

    def __init__(self, events: EventWriter, tensorboard: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._events = events
        self._board = SummaryWriter(str(tensorboard), purge_step=first_step + 1)
        self._forget()

    def _forget(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._steps = 0
        self._pairs = 0
        self._since = time.monotonic()
        self._worse = 0

    def emit(self, event: Event, *, durable: bool = False) -> None:
        """Write any event; figures go to TensorBoard too."""
        self._events.write(event, durable=durable)
        if isinstance(event, Metrics | Validation):
            for name, value in event.values.items():
                self._board.add_scalar(f"{event.kind}/{name}", value, event.step)
            self._board.flush()
        elif isinstance(event, Sample):
            judged = [image.rational for image in event.images if image.rational is not None]
            if judged:
                self._board.add_scalar("sample/rational", sum(judged) / len(judged), event.step)

    def add(self, step: int, figures: dict[str, float], pairs: int) -> None:
        """Take in the figures of one step. Raises DivergedError for a loss or gradient that is no number."""
        for name in ("loss", "grad_norm"):
            if not math.isfinite(figures[name]):
                raise DivergedError(
                    "not_finite",
                    f"The {name.replace('grad_norm', 'gradient')} became {figures[name]} at step {step}. The learning "
                    "rate is most likely too high, or the compute type too narrow; the last checkpoint is good.",
                )
        for name, value in figures.items():
            self._sums[name] += value
        self._steps += 1
        self._pairs += pairs

    def flush(self, step: int) -> None:
        """Write the window's means as one metrics event, and warn of what a person should see."""
        if not self._steps:
            return
        seconds = max(time.monotonic() - self._since, 1e-9)
        values = {name: total / self._steps for name, total in self._sums.items()}
        values |= {
            "pairs_per_second": self._pairs / seconds,
            "seconds_per_step": seconds / self._steps,
            "peak_memory_bytes": peak_memory_bytes(),
        }
        self.emit(Metrics(step=step, values=values))
        self._watch(step, values)
        self._sums.clear()
        self._steps = self._pairs = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave what was done outside the steps (checkpoints, samples) out of the speed."""
        self._since = time.monotonic()

    def _watch(self, step: int, values: dict[str, float]) -> None:
        worse = values.get("d_win", 0.0) > 0 and values.get("accuracy", 0.0) > 0.95
        self._worse = self._worse + 1 if worse else 0
        if self._worse == WORSE_IN_A_ROW:
            self.emit(
                Warn(
                    step=step,
                    code="winner_gets_worse",
                    message="Accuracy is near 100 % while D_w rises: the loser is being wrecked and the winner gets "
                    "worse with it. Lower the learning rate, raise replay.weight or confine t_min, t_max to high "
                    "noise.",
                )
            )

    def close(self) -> None:
        """Flush TensorBoard."""
        self._board.close()


class SilentTelemetry(Telemetry):
    """Watches a run like `Telemetry` and writes nothing: for all processes but the first."""

    def __init__(self) -> None:
        self._forget()

    def emit(self, event: Event, *, durable: bool = False) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Nothing is open."""
