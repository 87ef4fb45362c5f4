"""Request and result of `python -m trainer sample --request request.json --out DIR`.

Results are appended to `DIR/results.jsonl`, one object a line, as each batch is done; images lie under `DIR/images/`.
A second call with the same DIR skips the keys that are there already; it is refused where DIR holds images of another
generator, or of an item that has changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.contract.config import RunConfig
from trainer.contract.errors import ConfigError
from trainer.contract.snapshot import Snapshot

RESULTS = "results.jsonl"
KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class SamplerSettings(BaseModel):
    """How a generator samples; part of its identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(20, ge=1, le=1000)
    guidance: float = Field(1.0, ge=0)
    """The guidance embedding of guidance-distilled models (FLUX Fill: 30)."""


class GeneratorSpec(BaseModel):
    """Base pipeline + optional LoRA + sampler settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    base: str = "spatialworld"
    """`spatialworld`, a local diffusers folder, or a hub id."""
    revision: str | None = None
    """Commit or branch of a hub id."""
    adapter: str | None = None
    """Folder (holding pytorch_lora_weights.safetensors) or file of a LoRA."""
    adapter_scale: float = 1.0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type: auto takes bfloat16 where the hardware multiplies it fast."""
    sampler: SamplerSettings = SamplerSettings()


class SampleItem(BaseModel):
    """One image to make. `key` names it in results and on disk and must be unique in the request."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(pattern=KEY_PATTERN)
    image: Path
    mask: Path
    prompt: str
    seed: int = Field(ge=0, lt=2**63)
    spatialworld: dict[str, Any] | None = None
    """The condition's spec; with it the exact judge gives its verdict."""


class SampleRequest(BaseModel):
    """A whole request. Relative paths are taken from the request file's folder."""

    model_config = ConfigDict(extra="forbid")
    generator: GeneratorSpec = GeneratorSpec()
    items: list[SampleItem]
    batch_size: int = Field(32, ge=1)
    """Images a forward (of one size); does not change the images."""

    @model_validator(mode="after")
    def _unique(self) -> SampleRequest:
        seen: set[str] = set()
        for index, item in enumerate(self.items):
            if item.key in seen:
                raise ValueError(f"items.{index}.key {item.key!r} was there before")
            seen.add(item.key)
        return self


class Verdict(BaseModel):
    """What an exact judge says about an image; `rational` is None where it cannot tell."""

    model_config = ConfigDict(extra="allow")
    judge: str = "spatialworld"
    rational: bool | None
    reasons: list[str] = []
    margin: float = 0.0
    measured: dict[str, Any] = {}


class SampleResult(BaseModel):
    """One finished image; `image` is relative to the output folder, `seconds` is its share of its batch's time."""

    model_config = ConfigDict(extra="allow")
    key: str
    image: str
    seed: int
    seconds: float
    made_by: str | None = None
    """SHA-256 of the generator: base, adapter and sampler settings. None in results of earlier versions."""
    made_of: str | None = None
    """SHA-256 of the item: image, mask, prompt, seed and spec. None in results of earlier versions."""
    verdict: Verdict | None = None


def load_request(path: Path | str) -> SampleRequest:
    """Read a request file; relative paths become absolute. Raises ConfigError with one sentence."""
    path = Path(path)
    try:
        request = SampleRequest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError("request_unreadable", f"{path} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError("request_invalid", f"{path.name}{': ' + place if place else ''}: {message}.") from error
    root = path.resolve().parent
    for item in request.items:
        item.image = root / item.image
        item.mask = root / item.mask
    return request


def request_of(snapshot: Snapshot, config: RunConfig, *, adapter: Path | None, images: int) -> SampleRequest:
    """`images` images of a snapshot's held-out conditions (of all, where none are held out), as a run would draw them.

    Base, dtype and sampler are the config's, and its `model.adapter` where none is given; conditions take turns, and
    each further round has the next seed.
    """
    rows = [row for row in snapshot.conditions if row.split == "validation"] or snapshot.conditions
    items = [
        SampleItem(
            key=f"{index:05d}", image=snapshot.path(row.image), mask=snapshot.path(row.mask), prompt=row.prompt,
            seed=config.samples.seed + index // len(rows), spatialworld=row.spec,
        )
        for index, row in ((index, rows[index % len(rows)]) for index in range(images))
    ]  # fmt: skip
    generator = GeneratorSpec(
        base=config.model.base,
        revision=config.model.revision,
        adapter=str(adapter) if adapter else config.model.adapter,
        dtype=config.model.dtype,
        sampler=SamplerSettings(steps=config.samples.steps, guidance=config.samples.guidance),
    )
    return SampleRequest(generator=generator, items=items)


def read_results(folder: Path | str, offset: int = 0) -> tuple[list[SampleResult], int]:
    """The results from byte `offset` on, and the next offset; a half-written last line is left for the next call."""
    try:
        with (Path(folder) / RESULTS).open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    results: list[SampleResult] = []
    for line in data[:end].splitlines():
        try:
            results.append(SampleResult.model_validate(json.loads(line)))
        except ValueError:
            continue  # a line cut by a crash; its key is sampled again
    return results, offset + end
