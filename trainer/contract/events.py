"""The event stream of a run: `events.jsonl`, append-only, one JSON object a line.

`seq` rises by one from line to line, over resumes too. `step` counts finished optimizer steps. Paths are relative to
the run folder.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class BaseEvent(BaseModel):
    """What every event carries. Unknown fields are kept, so that an older reader can show a newer stream."""

    model_config = ConfigDict(extra="allow")
    seq: int = Field(0, ge=0)
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    step: int = 0


class Started(BaseEvent):
    """The first event of a run's first attempt."""

    kind: Literal["started"] = "started"
    snapshot: str
    """Content hash of the snapshot."""
    config_hash: str
    config: dict[str, Any]
    total_steps: int
    versions: dict[str, str] = {}
    device: str = "cpu"


class Resumed(BaseEvent):
    """A later attempt went on from a checkpoint; events after `step` of the earlier attempt are repeated by it."""

    kind: Literal["resumed"] = "resumed"
    checkpoint: str
    snapshot: str
    config_hash: str
    total_steps: int


class Plan(BaseEvent):
    """What the run is expected to cost, before the first step."""

    kind: Literal["plan"] = "plan"
    values: dict[str, Any]


class Progress(BaseEvent):
    """Work before the first step: `done` of `total` things of a cache are there."""

    kind: Literal["progress"] = "progress"
    what: str
    """encode (images, conditions, texts), or reference (rows of its error maps)."""
    done: int
    total: int


class Cost(BaseEvent):
    """What the plan predicted beside what was measured, once the run is under way: FLOPs, memory, seconds a step."""

    kind: Literal["cost"] = "cost"
    predicted: dict[str, float]
    measured: dict[str, float]


class SelfCheck(BaseEvent):
    """The start-up check: each name with what was found; `passed` is false only right before a failure."""

    kind: Literal["self_check"] = "self_check"
    passed: bool
    checks: dict[str, Any]


class Metrics(BaseEvent):
    """Figures of the steps since the last metrics event, averaged: losses, D_w, D_l, margin, accuracy, speed."""

    kind: Literal["metrics"] = "metrics"
    values: dict[str, float]


class SampleImage(BaseModel):
    """One image of a sample grid."""

    model_config = ConfigDict(extra="allow")
    condition_id: str
    seed: int
    image: str
    prompt: str = ""
    rational: bool | None = None
    reasons: list[str] = []
    """What an exact judge finds wrong: scale, position, viewpoint."""


class Sample(BaseEvent):
    """Images of held-out conditions at fixed seeds."""

    kind: Literal["sample"] = "sample"
    images: list[SampleImage]


class CheckpointEvent(BaseEvent):
    """A checkpoint was published under `path`."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: str
    bytes: int = 0
    seconds: float = 0.0


class Validation(BaseEvent):
    """Figures on held-out pairs at fixed noise."""

    kind: Literal["validation"] = "validation"
    values: dict[str, float]


class Warn(BaseEvent):
    """Something a person should look at; training goes on."""

    kind: Literal["warning"] = "warning"
    code: str
    message: str


class Finished(BaseEvent):
    """The run is done; `adapter` is the exported LoRA's folder, or `model` the tuned pipeline's."""

    kind: Literal["finished"] = "finished"
    adapter: str = ""
    model: str = ""
    values: dict[str, float] = {}


class Failed(BaseEvent):
    """The run stopped by an error; `exit_code` is what the process ends with."""

    kind: Literal["failed"] = "failed"
    code: str
    message: str
    exit_code: int


class Cancelled(BaseEvent):
    """The run stopped on request; `checkpoint` is what a resume goes on from."""

    kind: Literal["cancelled"] = "cancelled"
    checkpoint: str | None = None
    reason: str = ""


Event = Annotated[
    Started | Resumed | Plan | Progress | Cost | SelfCheck | Metrics | Sample | CheckpointEvent | Validation | Warn
    | Finished | Failed | Cancelled,
    Field(discriminator="kind"),
]  # fmt: skip
KINDS: tuple[str, ...] = tuple(
    get_args(model.model_fields["kind"].annotation)[0] for model in get_args(Event.__origin__)
)
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(line: str | bytes) -> Event:
    """One event from its line. Raises ValueError when it is no event."""
    return _ADAPTER.validate_json(line)


def read_events(path: Path | str, offset: int = 0) -> tuple[list[Event], int]:
    """The events from byte `offset` on, and the offset to read from next time.

    A half-written last line is left for the next call; a file that does not exist yet holds no events. A complete line
    that is no event (a crash may have cut it before a resume wrote on) is skipped.
    """
    try:
        with Path(path).open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    events: list[Event] = []
    for line in data[:end].splitlines():
        try:
            events.append(parse_event(line))
        except ValidationError:
            continue
    return events, offset + end


class EventWriter:
    """Appends events to a stream, giving each its `seq` and time; goes on counting where an earlier attempt stopped."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._handle = self._path.open("ab")
        _, end = read_events(self._path)
        if self._path.stat().st_size > end:  # a crash cut the last line: close it, so that only it is lost
            self._handle.write(b"\n")
            self._handle.flush()
        events, _ = read_events(self._path)
        self._seq = max((event.seq for event in events), default=-1) + 1

    def write(self, event: Event, *, durable: bool = False) -> None:
        """Append one event; `durable` flushes it to the disk (done for checkpoints and endings)."""
        stamped = event.model_copy(update={"seq": self._seq, "time": datetime.now(UTC)})
        body = stamped.model_dump(mode="json")
        self._handle.write(json.dumps(body, ensure_ascii=False, allow_nan=False, default=str).encode() + b"\n")
        self._handle.flush()
        self._seq += 1
        if durable or event.kind in ("checkpoint", "finished", "failed", "cancelled"):
            os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Flush to the disk and close."""
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
