"""Tiny random-weight variants of every family, in real diffusers format: for tests, for trying a config, for plans.

`<family>_debug` is built the first time it is named, in under a second and without a network, and kept in the user's
cache folder. Its weights are a function of the library versions and of the code here, so that a run resumed on one
machine meets the same bits. It has learnt nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from trainer.contract.errors import StorageError

_LIBRARIES = ("torch", "diffusers", "transformers", "tokenizers")


def debug_folder(family: str) -> Path:
    """The folder of a family's debug variant, built where it is missing.

    A ControlNet stands in its subfolder `controlnet`. Raises StorageError where the cache folder cannot be written.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inpaintdpo" / "debug"
    folder = root / f"{family}-{_fingerprint()}"
    if (folder / "model_index.json").is_file():
        return folder
    from transformers.utils import logging

    logging.disable_progress_bar()
    staged = root / f".{folder.name}.{os.getpid()}"
    try:
        staged.mkdir(parents=True, exist_ok=True)
        importlib.import_module(f"trainer.backbones.debug.{family}").build(staged)
        try:
            staged.replace(folder)
        except OSError:  # another process was first: its bits are the same
            if not (folder / "model_index.json").is_file():
                raise
    except OSError as error:
        raise StorageError("debug_unwritable", f"The debug model {family}_debug cannot be kept: {error}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _fingerprint() -> str:
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
