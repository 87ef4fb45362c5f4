"""The layout of a run folder, and what its small JSON files hold.

::

    config.json          the RunConfig
    snapshot.json        {folder, content_hash} the run was started on
    events.jsonl         the event stream
    cache/               what the encoders and the reference made, until the run is finished (or elsewhere, by --cache)
    cancel               made by whoever wants the run to stop at the next step boundary
    checkpoints/step-000100/
        manifest.json    written last: format_version, step, hashes of the files, snapshot and config hash
        adapter/pytorch_lora_weights.safetensors, or model/<denoiser>/ under full fine-tuning
        state.safetensors
    adapter/             the final export, for `load_lora_weights`
    model/               under full fine-tuning in its place: a whole pipeline, for `from_pretrained`
    samples/step-000100/<condition>-<seed>.png
    tensorboard/
    result.json          the RunResult, written last
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trainer.contract.errors import ModelError

LORA_FILE = "pytorch_lora_weights.safetensors"
_STEP = re.compile(r"^step-(\d{6,})$")


def lora_file(path: Path) -> Path:
    """The file of a LoRA that is named by itself, by its folder or by its run's. Raises ModelError where none is."""
    places = (path, path / LORA_FILE, path / "adapter" / LORA_FILE)
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise ModelError("adapter_missing", f"There is no adapter at {path}: {LORA_FILE} is missing.")
    return file


class CheckpointManifest(BaseModel):
    """`manifest.json` of a checkpoint; `files` maps relative paths to SHA-256."""

    model_config = ConfigDict(extra="forbid")
    format_version: int = 1
    step: int
    snapshot: str
    config_hash: str
    files: dict[str, str] = {}
    sampler: dict[str, int]
    """Where the data order stands."""
    processes: int = 1
    """How many processes shared each step."""
    beta: float | None = None
    """beta of the next step, which auto-beta moves."""
    attention: str | None = None
    """The attention backend that was measured to be the fastest, where the config asks for it."""
    early_stop: dict[str, float] = {}
    """The best validation so far and how many were worse since, where one is watched."""


class RunResult(BaseModel):
    """`result.json`: how the run ended."""

    model_config = ConfigDict(extra="forbid")
    state: str
    """finished, cancelled or failed."""
    exit_code: int
    step: int
    total_steps: int
    adapter: str | None = None
    model: str | None = None
    """Under full fine-tuning, the folder of the tuned pipeline, in place of an adapter."""
    checkpoint: str | None = None
    snapshot: str
    config_hash: str
    values: dict[str, float] = {}
    message: str = ""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of everything in a run folder."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def snapshot(self) -> Path:
        return self.root / "snapshot.json"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def cancel(self) -> Path:
        return self.root / "cancel"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after `step` finished steps."""
        return self.checkpoints / f"step-{step:06d}"

    def samples(self, step: int) -> Path:
        """The folder of the sample grid after `step` finished steps."""
        return self.root / "samples" / f"step-{step:06d}"

    def published_checkpoints(self) -> list[tuple[int, Path]]:
        """(step, folder) of every checkpoint that has its manifest, newest first; hashes are not checked here."""
        if not self.checkpoints.is_dir():
            return []
        found = []
        for folder in self.checkpoints.iterdir():
            match = _STEP.match(folder.name)
            if match and (folder / "manifest.json").is_file():
                found.append((int(match.group(1)), folder))
        return sorted(found, reverse=True)
