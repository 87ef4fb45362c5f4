"""What is trained and published: all weights, an average of them, the best of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from trainer.contract.checkpoint import RunFolder, RunResult
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError
from trainer.contract.events import read_events


def settings(smoke: RunConfig, **more: object) -> RunConfig:
    base = {"training.steps": 4, "samples.every": 0, "validation.every": 2, "model.dtype": "float32"}
    return apply_overrides(smoke, {**base, **more})


def run(snapshot: Path, config: RunConfig, out: Path) -> tuple[RunResult, RunFolder]:
    from trainer.engine import train

    return train(snapshot, config, out), RunFolder(out)


def metrics(folder: RunFolder) -> list[dict[str, float]]:
    return [event.values for event in read_events(folder.events)[0] if event.kind == "metrics"]


@pytest.mark.parametrize("source", ["model", "cache"])
def test_full_fine_tuning_ends_with_a_pipeline_that_loads_anywhere(
    smoke: RunConfig, snapshot_folder: Path, pipeline_folder: Path, tmp_path: Path, source: str
) -> None:
    from diffusers import FluxFillPipeline

    config = settings(smoke, **{"training.method": "full", "reference.source": source, "optimizer.learning_rate": 1e-3})
    result, folder = run(snapshot_folder, config, tmp_path / "run")
    assert (result.adapter, result.model) == (None, "model") and not folder.adapter.exists()
    figures = metrics(folder)
    assert figures[0]["loss_preference"] == pytest.approx(math.log(2), abs=1e-4)
    assert figures[-1]["loss_preference"] != figures[0]["loss_preference"]
    tuned = FluxFillPipeline.from_pretrained(tmp_path / "run" / "model").transformer.state_dict()
    base = FluxFillPipeline.from_pretrained(pipeline_folder).transformer.state_dict()
    assert tuned.keys() == base.keys() and sum(not torch.equal(tuned[name], base[name]) for name in base) > 10
    second = apply_overrides(config, {"model.base": str(tmp_path / "run" / "model"), "training.steps": 1})
    assert run(snapshot_folder, second, tmp_path / "second")[0].state == "finished"


@pytest.mark.parametrize("family", ["sd_inpaint", "qwen_image_edit"])
def test_other_families_are_fully_trained_too(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, family: str
) -> None:
    """A UNet with noise to predict, and a transformer whose text is read with the picture."""
    more = {"training.method": "full", "training.steps": 2, "training.checkpointing": True}
    config = settings(smoke, **{"model.base": f"{family}_debug", **more})
    result, folder = run(snapshot_folder, config, tmp_path / "run")
    figures = metrics(folder)
    assert result.model == "model" and (folder.root / "model" / "model_index.json").is_file()
    assert figures[0]["loss_preference"] == pytest.approx(math.log(2), abs=1e-4)
    assert figures[1]["loss_preference"] != figures[0]["loss_preference"]


def test_the_copy_is_the_reference_and_the_adapter_off_is_the_same_one(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    """Both methods start from the same errors of the same frozen weights."""
    from trainer.backbones.load import load_backbone
    from trainer.contract.snapshot import read_snapshot
    from trainer.prepare import add_policy, prepare
    from trainer.reference import GUIDANCE, ModelReference

    maps = []
    for method in ("lora", "full"):
        config = settings(smoke, **{"training.method": method})
        backbone = load_backbone(config.model.base, dtype="float32")
        schedule = prepare(config, read_snapshot(snapshot_folder), backbone, tmp_path)
        add_policy(config, backbone)
        with torch.no_grad():
            for parameter in backbone.trainable().values():
                parameter.add_(0.05)
        batch, layout = schedule.builder.build(0, schedule.pairs(0), schedule.slots[0])
        maps.append(ModelReference(backbone, GUIDANCE).maps(batch.first(layout.referenced)))
    assert torch.equal(*maps)


def test_the_average_is_what_is_published_and_the_weights_train_on(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    from trainer.checkpoint import STATE

    plain, without = run(snapshot_folder, settings(smoke), tmp_path / "plain")
    averaged, folder = run(snapshot_folder, settings(smoke, **{"training.ema": 0.5}), tmp_path / "averaged")
    assert plain.state == averaged.state == "finished"
    assert [m["loss"] for m in metrics(folder)] == [m["loss"] for m in metrics(without)]
    states = {step: load_file(folder.checkpoint(step) / STATE) for step in (2, 4)}
    raw = load_file(without.checkpoint(4) / STATE)
    name = next(key for key in raw if key.startswith("weight/") and "lora_B" in key).removeprefix("weight/")
    assert torch.equal(states[4][f"weight/{name}"], raw[f"weight/{name}"])
    assert not torch.equal(states[4][f"average/{name}"], raw[f"weight/{name}"])
    files = [next(run.adapter.iterdir()).read_bytes() for run in (folder, without)]
    assert files[0] != files[1]


def test_an_average_follows_its_recurrence() -> None:
    from trainer.average import Average, swapped_in

    weight = torch.nn.Parameter(torch.tensor([1.0]))
    average, expected = Average({"w": weight}, 0.9), 1.0
    for step in range(1, 200):
        with torch.no_grad():
            weight.fill_(float(step))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.values["w"].item() == pytest.approx(expected, rel=1e-5)
    with swapped_in({"w": weight}, average.values):
        assert weight.item() == average.values["w"].item()
    assert weight.item() == 199


def test_early_stop_publishes_the_best_weights(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    """A learning rate this high makes held-out pairs worse at once: the base's weights stay the best."""
    patience = {"validation.every": 1, "validation.patience": 2, "validation.watch": "loss_preference"}
    wild = {"optimizer.learning_rate": 0.3, "optimizer.warmup_steps": 0, "training.steps": 30, "objective.beta": 1.0}
    config = settings(smoke, **patience, **wild, **{"training.log_every": 20, "checkpoints.every": 20})
    result, folder = run(snapshot_folder, config, tmp_path / "run")
    looks = [event.values["loss_preference"] for event in read_events(folder.events)[0] if event.kind == "validation"]
    best = min(range(len(looks)), key=looks.__getitem__)
    assert result.step < 30 and result.step == best + 2 and len(looks) == result.step + 1
    assert result.values["best_step"] == best and result.values["stopped_early"] == 1
    card = (folder.adapter / "README.md").read_text()
    assert f"trained for {best} steps" in card and f"after step {best}:" in card
    assert [event.step for event in read_events(folder.events)[0] if event.kind == "metrics"] == [result.step]
    manifest = (
        json.loads((folder.checkpoint(result.step) / "manifest.json").read_text())
        if (folder.checkpoint(result.step).exists())
        else None
    )
    assert manifest is None or manifest["early_stop"]["worse"] <= 2


def test_early_stop_counts_from_the_best() -> None:
    from trainer.contract.config import ValidationConfig
    from trainer.early_stop import EarlyStop

    stop = EarlyStop(ValidationConfig(patience=2, watch="margin", min_gain=0.1))
    weight = torch.nn.Parameter(torch.zeros(1))
    due = []
    for step, margin in enumerate([0.0, 0.05, 0.2, 0.25, 0.29, 9.0]):
        with torch.no_grad():
            weight.fill_(float(step))
        stop.look(step, {"margin": margin}, {"w": weight})
        due.append(stop.due)
    assert due == [False, False, False, False, True, False]
    assert stop.state["best_step"] == 5 and stop.weights["w"].item() == 5


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"training.method": "full", "model.adapter": "somewhere"}, "fuse the adapter into the base first"),
        ({"validation.patience": 2, "validation.every": 0}, "patience needs validations to watch"),
        (
            {
                "reference.source": "cache",
                "validation.every": 0,
                "objective": {
                    "preference": "sft",
                    "capo": {"weight": 0},
                    "scpo": {"weight": 0},
                    "replay": {"weight": 0},
                },
            },
            "needs no reference",
        ),
        ({"training.ema": 1.0}, "less than 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    smoke: RunConfig, overrides: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        apply_overrides(smoke, overrides)
