"""A whole run on a tiny pipeline: what is written, what it says, what the adapter does elsewhere."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from trainer.contract.checkpoint import RunFolder, RunResult
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.events import read_events


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pipeline_folder: Path, snapshot_folder: Path) -> RunFolder:
    from trainer.contract.recipes import recipe_config
    from trainer.engine import train

    config = apply_overrides(recipe_config("spatialworld_smoke"), {"model.base": str(pipeline_folder)})
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    result = train(snapshot_folder, config, folder.root)
    assert (result.state, result.step) == ("finished", config.training.steps)
    return folder


def test_the_run_folder_tells_everything(finished: RunFolder) -> None:
    events, _ = read_events(finished.events)
    kinds = [event.kind for event in events if event.kind != "progress"]
    assert kinds[:3] == ["started", "plan", "self_check"] and kinds[-1] == "finished"
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.step for event in events if event.kind == "metrics"] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events if event.kind == "validation"] == [0, 3, 6]
    samples = [event for event in events if event.kind == "sample"]
    assert all((finished.root / image.image).is_file() for event in samples for image in event.images)
    assert [step for step, _ in finished.published_checkpoints()] == [6, 4]
    assert RunResult.model_validate_json(finished.result.read_text()).adapter == "adapter"
    assert any(finished.tensorboard.iterdir())


def test_the_first_step_starts_at_ln_2_and_every_quantity_is_logged(finished: RunFolder) -> None:
    metrics = [event.values for event in read_events(finished.events)[0] if event.kind == "metrics"]
    assert metrics[0]["loss_preference"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics[0]["loss_scpo"] == 0
    wanted = {
        "loss", "loss_preference", "loss_foreground", "loss_capo", "loss_scpo", "loss_replay", "d_win", "d_lose",
        "margin", "accuracy", "win_worse", "sigmoid_negative_margin", "foreground_against_reference", "grad_norm",
        "learning_rate", "pairs_per_second", "peak_memory_bytes",
    }  # fmt: skip
    assert wanted <= metrics[0].keys()
    assert metrics[-1]["loss_preference"] != metrics[0]["loss_preference"] and metrics[-1]["loss_scpo"] > 0


def test_the_adapter_changes_a_fresh_pipeline(
    finished: RunFolder, pipeline_folder: Path, snapshot_folder: Path
) -> None:
    import numpy as np
    import torch
    from diffusers import FluxFillPipeline

    pipeline = FluxFillPipeline.from_pretrained(pipeline_folder)
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> np.ndarray:
        return pipeline(
            prompt="a red car", image=torch.zeros(1, 3, 32, 32), mask_image=torch.ones(1, 1, 32, 32), height=32,
            width=32, num_inference_steps=2, max_sequence_length=16, generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).images[0]  # fmt: skip

    before = draw()
    pipeline.load_lora_weights(finished.adapter)
    after = draw()
    assert np.abs(after - before).max() > 1e-4
    pipeline.unload_lora_weights()
    assert np.array_equal(draw(), before)


def test_the_exported_adapter_is_the_trained_one(
    finished: RunFolder, smoke: RunConfig, pipeline_folder: Path, tmp_path: Path
) -> None:
    """The policy of the run and the export in a fresh pipeline predict the same, with alpha other than rank."""
    import torch

    from trainer.backbones.load import load_backbone

    one, other = (load_backbone(str(pipeline_folder), dtype="float32") for _ in range(2))
    one.add_adapter(4, 10.0, "all", 0)
    with torch.no_grad():
        for parameter in one.trainable().values():
            parameter.add_(0.05)
    one.export_adapter(tmp_path / "adapter")
    other.load_adapter(tmp_path / "adapter")
    condition = one.encode_condition(torch.zeros(2, 3, 32, 32), torch.ones(2, 1, 32, 32))
    text = one.encode_text(["a car", "a dog"])
    noise, t = torch.randn(2, *one.latent_shape(32, 32)), torch.tensor([0.5, 0.9])
    mine, theirs = one.predict(noise, t, condition, text), other.predict(noise, t, condition, text)
    with one.reference():
        base = one.predict(noise, t, condition, text)
    assert (mine - base).abs().max() > 1e-3
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_continuing_an_adapter_keeps_it_as_the_reference(
    finished: RunFolder, smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.engine import train

    config = apply_overrides(smoke, {"model.adapter": str(finished.adapter), "training.steps": 1})
    folder = RunFolder(tmp_path / "second")
    assert train(snapshot_folder, config, folder.root).state == "finished"
    check = next(event for event in read_events(folder.events)[0] if event.kind == "self_check")
    assert check.checks["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)
