"""What a run has trained, or a pipeline with an adapter in its weights, as a folder of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from safetensors import SafetensorError

from trainer.backbones.families import resolve_base
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig
from trainer.contract.errors import ConfigError, StorageError
from trainer.contract.files import fsync_path, fsync_tree, take_umask

PRODUCTS = ("adapter", "model")


def trained_by(run: Path, step: int | None) -> Path:
    """The folder of a run's LoRA or model: the final one, else the newest checkpoint's, or that of a `step`.

    Raises StorageError for a damaged checkpoint, ConfigError where there is nothing, or no checkpoint of that step.
    """
    from trainer.checkpoint import check, last_good

    folder = RunFolder(run)
    if step is not None:
        path = folder.checkpoint(step)
        if not path.is_dir():
            there = ", ".join(str(known) for known, _ in reversed(folder.published_checkpoints())) or "none"
            raise ConfigError("step_missing", f"There is no checkpoint of step {step} in {run}; there are: {there}.")
        check(path)
        found = _product(path)
    else:
        found = _product(run)
        if found is None and (good := last_good(folder)):
            found = _product(good[1])
    if found is None:
        raise ConfigError("nothing_to_export", f"{run} holds neither an adapter nor a checkpoint.")
    return found


def _product(folder: Path) -> Path | None:
    return next((folder / name for name in PRODUCTS if (folder / name).is_dir()), None)


def base_folder(config: RunConfig) -> Path:
    """Where the files of the base pipeline lie: its own folder, or the hub's cache of it."""
    from diffusers import DiffusionPipeline

    path = resolve_base(config.model.base).path
    return Path(path if Path(path).is_dir() else DiffusionPipeline.download(path, revision=config.model.revision))


def export_pipeline(config: RunConfig, out: Path) -> None:
    """Write the pipeline that a config names to the new folder `out`, for `from_pretrained`; appears whole or not.

    With `model.adapter` that is in its weights, which are written in bfloat16 where `model.dtype` says so, else in
    float32. A ControlNet stays beside it. Raises ModelError for a base or adapter that cannot be loaded, StorageError
    when the disk refuses.
    """
    import torch

    from trainer.backbones.load import load_backbone

    model = config.model
    staged = out.with_name(f".{out.name}.{os.getpid()}.staged")
    try:
        staged.mkdir(parents=True)
        if model.adapter:
            backbone = load_backbone(model.base, revision=model.revision, dtype="float32", device="cpu", encoders=False)
            backbone.load_adapter(Path(model.adapter))
            backbone.fuse_adapter(torch.bfloat16 if model.dtype == "bfloat16" else torch.float32)
            backbone.export_model(staged, backbone.denoiser.state_dict())
        complete_pipeline(staged, base_folder(config))
        publish_folder(staged, out)
    except (OSError, SafetensorError) as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _unwritable(out: Path, error: Exception) -> StorageError:
    """`shutil.Error` holds one triple for each file that failed."""
    words = error.args[0][0][2] if isinstance(error, shutil.Error) and error.args[0] else error
    return StorageError("export_unwritable", f"{out} could not be written: {words}.")


def copy_out(source: Path, out: Path) -> None:
    """Copy a folder to the new folder `out`; appears whole or not. Raises StorageError when the disk refuses."""
    staged = out.with_name(f".{out.name}.{os.getpid()}.staged")
    try:
        shutil.copytree(source, staged)
        publish_folder(staged, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def complete_pipeline(staged: Path, base: Path) -> None:
    """Copy those parts of a pipeline from the folder `base` that `staged` lacks."""
    for part in base.iterdir():
        if not (staged / part.name).exists():
            copy = shutil.copytree if part.is_dir() else shutil.copy2
            copy(part, staged / part.name)


def publish_folder(staged: Path, final: Path) -> None:
    """Give a finished folder the umask's modes and its name, in place of what had it.

    A crash leaves the old one, none or the new one.
    """
    take_umask(staged)
    fsync_tree(staged)
    shutil.rmtree(final, ignore_errors=True)
    staged.replace(final)
    fsync_path(final.parent)
