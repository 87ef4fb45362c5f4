"""A tiny pipeline in real diffusers format and a small snapshot that fits it, made once a session."""

from __future__ import annotations

import io
import multiprocessing
import os
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.recipes import recipe_config
from trainer.contract.snapshot import ConditionInput, PairInput, WinnerInput, write_snapshot

SIZE = 32


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def scene(index: int, good: bool, draw: int = 0) -> np.ndarray:
    """A picture whose good variant is light above and dark below, and whose bad one is the other way round."""
    random = np.random.default_rng([index, good, draw])
    ramp = np.linspace(220, 40, SIZE) if good else np.linspace(40, 220, SIZE)
    pixels = np.repeat(ramp[:, None, None], SIZE, axis=1) + random.normal(0, 6, (SIZE, SIZE, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def subject_mask(index: int) -> np.ndarray:
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    left = 4 + (index * 3) % 16
    mask[12:24, left : left + 9] = 0
    return mask


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight FluxFillPipeline with every part, saved as usual."""
    import torch

    from trainer.spatialworld import build_pipeline

    folder = tmp_path_factory.mktemp("pipeline")
    pipeline = build_pipeline(seed=0, debug=True)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():  # an untrained model may start as the identity, through which no gradient flows
        for parameter in pipeline.transformer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.05)
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def snapshot_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and three held-out pairs, two winners each."""
    folder = tmp_path_factory.mktemp("snapshots") / "small"
    conditions, pairs, winners = [], [], []
    for i in range(9):
        name = f"c{i}"
        split = "train" if i < 6 else "validation"
        image = np.full((SIZE, SIZE, 3), 90 + 10 * i, np.uint8)
        conditions.append(ConditionInput(name, f"s{i}", split, "a red car", png(image), png(subject_mask(i))))
        pairs.append(PairInput(f"p{i}", name, png(scene(i, True)), png(scene(i, False)), f"w{i}", f"l{i}", 0.9))
        winners += [WinnerInput(name, png(scene(i, True, d)), f"w{i}-{d}") for d in range(2)]
    write_snapshot(folder, name="small", rules={}, conditions=conditions, pairs=pairs, winners=winners)
    return folder


@pytest.fixture
def smoke(pipeline_folder: Path) -> RunConfig:
    """The smoke recipe on the tiny pipeline."""
    return apply_overrides(recipe_config("spatialworld_smoke"), {"model.base": str(pipeline_folder)})


class Forked:
    """A command of the trainer in a process of its own, forked from a server that has imported torch once."""

    def __init__(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["trainer.engine", "trainer.backbones.flux_fill", "torch.utils.tensorboard"])
        given = {"ENVIRONMENT": environment or {}, "ARGUMENTS": arguments}
        script = str(Path(__file__).with_name("one_of_several.py"))
        self._process = context.Process(target=runpy.run_path, args=(script, given, "__main__"))
        self._process.start()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Its exit code, when it has ended."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


@pytest.fixture
def start_trainer() -> Callable[..., Forked]:
    """Starts `python -m trainer ARGUMENTS` as a process that can be waited for and killed."""
    return Forked
