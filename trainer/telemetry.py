"""Figures of a run: averaged over log windows, written to the event stream and its sinks, watched for ill health."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainer.contract.errors import DivergedError
from trainer.contract.events import Cost, EventWriter, Metrics, Progress, Warn
from trainer.sinks import short

if TYPE_CHECKING:
    from trainer.contract.events import Event
    from trainer.sinks import Sink

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "A10": 125e12}
"""Dense bfloat16 FLOP/s that the makers state, by a part of the card's name."""
PROGRESS_SECONDS = 2.0
"""Time between two progress events of a cache that is being built."""
WORSE_IN_A_ROW = 5
"""Log windows in which the winner must be getting worse at full accuracy before it is called degenerate."""


def peak_memory_bytes() -> float:
    """Largest resident set of this process so far, plus the GPU's peak where one is used."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit) + _gpu_peak()


def _on_gpu() -> bool:
    torch = sys.modules.get("torch")
    return bool(torch and torch.cuda.is_available())


def _gpu_peak() -> float:
    return float(sys.modules["torch"].cuda.max_memory_allocated()) if _on_gpu() else 0.0


def utilisation(flops: float | None, seconds: float) -> float | None:
    """Counted FLOPs of a step over what the GPU could have done in its time; None where its peak is not known."""
    if not flops or not _on_gpu():
        return None
    name = sys.modules["torch"].cuda.get_device_name()
    peak = next((value for part, value in PEAK_FLOPS.items() if part in name), None)
    return flops / (seconds * peak) if peak else None


def check_finite(step: int, values: Mapping[str, float], names: Iterable[str]) -> None:
    """Raise DivergedError for the first of the named values that is no number."""
    for name in names:
        if not math.isfinite(values[name]):
            raise DivergedError(
                "not_finite",
                f"The {name.replace('grad_norm', 'gradient')} became {values[name]} at step {step}. The learning "
                "rate is most likely too high, or the compute type too narrow: lower optimizer.learning_rate, or "
                "set model.dtype to float32.",
            )


class Telemetry:
    """Averages figures over the steps of a log window and writes them out."""

    def __init__(self, events: EventWriter, sinks: Sequence[Sink]) -> None:
        self._events = events
        self._sinks = list(sinks)
        self._forget()

    def _forget(self) -> None:
        self._predicted: dict[str, float] = {}
        self._measured: dict[str, float] = {}
        self._processes = 1
        self._sums: dict[str, float] = defaultdict(float)
        self._steps = 0
        self._pairs = 0
        self._since = time.monotonic()
        self._worse = 0
        self._told = -math.inf

    def open(self, sinks: Iterable[Sink]) -> None:
        """Tell these from now on as well, each as soon as it is open."""
        for sink in sinks:
            self._sinks.append(sink)

    def emit(self, event: Event) -> None:
        """Write any event, and tell the sinks. One that fails is left out from then on, with a warning."""
        self._events.write(event)
        self._tell(event)

    def end(self, event: Event) -> None:
        """Tell the sinks how the run ended and close them; the ending is the stream's last event."""
        self._tell(event)
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # as in _tell
                self._events.write(_lost(sink, error, event.step))
        self._sinks.clear()
        self._events.write(event)

    def _tell(self, event: Event) -> None:
        lost = []
        for sink in list(self._sinks):
            try:
                sink.write(event)
            except Exception as error:  # servers fail in kinds that only their packages know; the run must not
                self._sinks.remove(sink)
                lost.append(_lost(sink, error, event.step))
        for warning in lost:
            self.emit(warning)

    def progress(self, step: int, what: str, done: int, total: int) -> None:
        """Tell how far some work before the first step is: at both ends, and every few seconds between."""
        if done in (0, total) or time.monotonic() - self._told >= PROGRESS_SECONDS:
            self.emit(Progress(step=step, what=what, done=done, total=total))
            self._told = time.monotonic()

    def expect(self, predicted: Mapping[str, float], measured: Mapping[str, float], processes: int = 1) -> None:
        """Hold a plan's figures against what is measured, once the first log window after step 1 is full.

        `measured` is what is known already (`flops_per_forward`); memory and time are measured here. The FLOPs of a
        step are shared by so many `processes`, each with a card of its own.
        """
        self._predicted, self._measured, self._processes = dict(predicted), dict(measured), processes

    def add(self, step: int, figures: dict[str, float], pairs: int) -> None:
        """Take in the figures of one step. Raises DivergedError for a loss or gradient that is no number."""
        check_finite(step, figures, ("loss", "grad_norm"))
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
        flops = self._predicted.get("flops_per_step", 0.0) / self._processes
        if rate := utilisation(flops, values["seconds_per_step"]):
            values["model_flops_utilisation"] = rate
        self.emit(Metrics(step=step, values=values))
        self._watch(step, values)
        self._compare(step, values)
        self._sums.clear()
        self._steps = self._pairs = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count the speed from now on."""
        self._since = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what is done between steps (checkpoints, validation, samples) out of the speed."""
        begun = time.monotonic()
        yield
        self._since += time.monotonic() - begun

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

    def _compare(self, step: int, values: dict[str, float]) -> None:
        if not self._measured or step < 2:
            return
        memory = "device_bytes" if _on_gpu() else "host_bytes"
        found = {
            **self._measured,
            memory: _gpu_peak() if _on_gpu() else values["peak_memory_bytes"],
            "seconds_per_step": values["seconds_per_step"],
        }
        predicted = {name: self._predicted[name] for name in found if name in self._predicted}
        self.emit(Cost(step=step, predicted=predicted, measured={name: found[name] for name in predicted}))
        self._measured = {}


def _lost(sink: Sink, error: Exception, step: int) -> Warn:
    return Warn(
        step=step, code="sink_lost",
        message=f"{sink.name} fails and is told no more; events.jsonl has everything. It said: {short(error)}",
    )  # fmt: skip


class SilentTelemetry(Telemetry):
    """Watches a run like `Telemetry` and writes nothing: for all processes but the first."""

    def __init__(self) -> None:
        self._sinks = []
        self._forget()

    def emit(self, event: Event) -> None:
        """Write nothing."""

    def end(self, event: Event) -> None:
        """Nothing is open."""
