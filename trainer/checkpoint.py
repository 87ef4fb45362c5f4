"""Checkpoints: staged, flushed, manifest last, renamed; hashes checked on load; the last good one wins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from safetensors import SafetensorError

from trainer.card import CARD
from trainer.contract.checkpoint import CheckpointManifest, RunFolder
from trainer.contract.errors import StorageError
from trainer.contract.files import sha256_file, write_durably
from trainer.export import complete_pipeline, publish_folder

if TYPE_CHECKING:
    from trainer.policy import Policy

STATE = "state.safetensors"
MANIFEST = "manifest.json"


def save_checkpoint(
    folder: RunFolder, manifest: CheckpointManifest, policy: Policy, *, keep: int, write: bool = True
) -> Path:
    """Publish the state after `manifest.step` finished steps and remove checkpoints beyond the newest `keep`.

    The manifest's list of files is filled in here. Of several processes all call this and one writes. A crash leaves
    the checkpoint whole or absent. Raises StorageError when the disk refuses; what was there stays.
    """
    from safetensors.torch import save_file

    final = folder.checkpoint(manifest.step)
    staged = final.with_name(f".{final.name}.staged")
    tensors = policy.tensors(keep=write)
    if not write:
        with policy.shown():
            policy.export(staged, write=False)
        return final
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
        with policy.shown():
            policy.export(staged / policy.product)
        save_file(tensors, staged / STATE)
        files = {
            path.relative_to(staged).as_posix(): sha256_file(path)
            for path in sorted(staged.rglob("*"))
            if path.is_file()
        }
        whole = manifest.model_copy(update={"files": files})
        write_durably(staged / MANIFEST, whole.model_dump_json(indent=1).encode())
        publish_folder(staged, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise StorageError("checkpoint_unwritable", f"{final.name} could not be written: {error}.") from error
    for _, old in folder.published_checkpoints()[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_state(path: Path, manifest: CheckpointManifest, policy: Policy) -> None:
    """Put a checkpoint's weights, moments and early stop into the policy."""
    from safetensors.torch import load_file

    policy.load(load_file(path / STATE), path.name)
    policy.early_stop.state = dict(manifest.early_stop)


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
        raise StorageError(
            "no_good_checkpoint",
            f"No checkpoint of this run is whole: {' '.join(passed)} Take a new folder, or remove these from "
            f"{folder.checkpoints} to begin again at step 0.",
        )
    return None


def publish(folder: RunFolder, policy: Policy, base: Path | None, card: str, *, write: bool = True) -> Path:
    """Write the result with its model card, atomically: the final LoRA to `adapter/`, or a whole pipeline to `model/`.

    The parts of the pipeline that were not trained come from the folder `base`. Of several processes all call this and
    one writes.
    """
    final = folder.root / policy.product
    staged = folder.root / f".{final.name}.{os.getpid()}.staged"
    if not write:
        with policy.best():
            policy.export(staged, write=False)
        return final
    shutil.rmtree(staged, ignore_errors=True)
    try:
        with policy.best():
            policy.export(staged)
        if base is not None:
            complete_pipeline(staged, base)
        (staged / CARD).write_text(card, encoding="utf-8")
        publish_folder(staged, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise StorageError(f"{final.name}_unwritable", f"The {final.name} could not be written: {error}.") from error
    return final
