"""Checkpoints: staged, flushed, manifest last, renamed; hashes checked on load; the last good one wins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from trainer.contract.checkpoint import CheckpointManifest, RunFolder
from trainer.contract.errors import ConfigError, StorageError
from trainer.contract.files import fsync_path, fsync_tree, sha256_file, write_durably

if TYPE_CHECKING:
    import torch

    from trainer.backbones.protocol import Backbone

STATE = "state.safetensors"
MANIFEST = "manifest.json"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_checkpoint(
    folder: RunFolder,
    step: int,
    backbone: Backbone,
    optimizer: torch.optim.Optimizer,
    *,
    snapshot: str,
    config_hash: str,
    keep: int,
) -> Path:
    """Publish the state after `step` finished steps and remove checkpoints beyond the newest `keep`.

    A crash leaves the checkpoint whole or absent. Raises StorageError when the disk refuses; what was there stays.
    """
    final = folder.checkpoint(step)
    staged = final.with_name(f".{final.name}.staged")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
        backbone.export_adapter(staged / "adapter")
        _save_state(staged / STATE, backbone.trainable(), optimizer)
        files = {
            path.relative_to(staged).as_posix(): sha256_file(path)
            for path in sorted(staged.rglob("*"))
            if path.is_file()
        }
        manifest = CheckpointManifest(
            step=step, snapshot=snapshot, config_hash=config_hash, files=files, sampler={"next_step": step}
        )
        fsync_tree(staged)
        write_durably(staged / MANIFEST, manifest.model_dump_json(indent=1).encode())
        shutil.rmtree(final, ignore_errors=True)
        staged.replace(final)
        fsync_path(folder.checkpoints)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise StorageError("checkpoint_unwritable", f"{final.name} could not be written: {error}.") from error
    for _, old in folder.published_checkpoints()[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _save_state(path: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    from safetensors.torch import save_file

    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
        for moment in _MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment].detach().cpu().contiguous()
    save_file(tensors, path)


def load_state(path: Path, backbone: Backbone, optimizer: torch.optim.Optimizer) -> None:
    """Put weights and moments of a checkpoint folder into the adapter and the optimizer."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path / STATE)
    for name, parameter in backbone.trainable().items():
        saved = tensors.get(f"weight/{name}")
        if saved is None or saved.shape != parameter.shape:
            raise ConfigError(
                "checkpoint_other_model", f"{path.name} was made with another model or LoRA rank: {name} does not fit."
            )
        with torch.no_grad():
            parameter.copy_(saved)
        moments = {moment: tensors.get(f"{moment}/{name}") for moment in _MOMENTS}
        if moments["step"] is not None:
            optimizer.state[parameter] = {
                moment: value.clone() if moment == "step" else value.to(parameter.device)
                for moment, value in moments.items()
                if value is not None
            }


def check(path: Path) -> CheckpointManifest:
    """The manifest of a checkpoint whose every file has its hash. Raises StorageError naming the file."""
    try:
        manifest = CheckpointManifest.model_validate_json((path / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError("checkpoint_damaged", f"{path.name}/{MANIFEST} cannot be read.") from error
    for name, digest in manifest.files.items():
        file = path / name
        if not file.is_file() or sha256_file(file) != digest:
            raise StorageError("checkpoint_damaged", f"{path.name}/{name} is missing or damaged.")
    return manifest


def last_good(folder: RunFolder) -> tuple[CheckpointManifest, Path, list[str]] | None:
    """The newest whole checkpoint, and one sentence for each damaged one that was passed over; None without any.

    Raises StorageError when there are checkpoints but none is whole.
    """
    passed: list[str] = []
    for _, path in folder.published_checkpoints():
        try:
            return check(path), path, passed
        except StorageError as error:
            passed.append(error.message)
    if passed:
        raise StorageError("no_good_checkpoint", "No checkpoint of this run is whole: " + " ".join(passed))
    return None


def publish_adapter(folder: RunFolder, backbone: Backbone) -> Path:
    """Write the final LoRA to `adapter/`, atomically."""
    staged = folder.root / f".adapter.{os.getpid()}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    try:
        backbone.export_adapter(staged)
        fsync_tree(staged)
        shutil.rmtree(folder.adapter, ignore_errors=True)
        staged.replace(folder.adapter)
        fsync_path(folder.root)
    except OSError as error:
        raise StorageError("adapter_unwritable", f"The adapter could not be written: {error}.") from error
    return folder.adapter
