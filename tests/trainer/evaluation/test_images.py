"""`python -m trainer evaluate`: what is measured with and without a judge, by whose settings, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import png, scene, subject_mask
from trainer.cli import main
from trainer.contract.errors import ExitCode
from trainer.contract.snapshot import ConditionInput, PairInput, read_snapshot, write_snapshot

IMAGES = {"roughness", "foreground_error", "subject_expansion", "boundary_coherence", "images"}
Evaluate = Callable[..., dict[str, float]]


@pytest.fixture
def evaluate(pipeline_folder: Path, snapshot_folder: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Figures of the tiny pipeline with one step a picture, unless the options say more."""

    def figures(*options: str, snapshot: Path = snapshot_folder) -> dict[str, float]:
        values = ("samples.steps=1", f"model.base={pipeline_folder}", "model.dtype=float32")
        settings = ["--recipe", "spatialworld_smoke", *(f"--set={value}" for value in values)]
        assert main(["evaluate", *settings, "--snapshot", str(snapshot), "--json", *options]) == ExitCode.FINISHED
        found: dict[str, float] = json.loads(capsys.readouterr().out)
        return found

    return figures


@pytest.fixture
def adapter(pipeline_folder: Path, tmp_path: Path) -> Path:
    """A LoRA that changes something."""
    import torch

    from trainer.backbones.load import load_backbone

    backbone = load_backbone(str(pipeline_folder), dtype="float32", device="cpu")
    backbone.add_adapter(2, 2, "attention", 0)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in backbone.trainable().values():
            weights.add_(torch.randn(weights.shape, generator=random), alpha=0.1)
    backbone.export_adapter(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_without_a_judge_pairs_and_images_are_measured(evaluate: Evaluate, adapter: Path) -> None:
    base = evaluate("--images", "3")
    assert base.keys() == IMAGES and base["images"] == 3
    tuned = evaluate("--images", "6", "--adapter", str(adapter))
    assert tuned.keys() >= IMAGES | {"d_win", "d_lose", "margin", "accuracy", "diversity"} and "rational" not in tuned
    assert tuned["pairs"] == 3 and tuned["d_win"] != 0 and tuned["diversity"] > 0


def test_the_configs_sampler_draws_unless_options_say_otherwise(evaluate: Evaluate) -> None:
    two = evaluate("--images", "2", "--set", "samples.steps=2", "--set", "samples.seed=5")
    assert two == evaluate("--images", "2", "--steps", "2", "--seed", "5")
    for other in (evaluate("--images", "2", "--seed", "5"), evaluate("--images", "2", "--steps", "2")):
        assert other["roughness"] != two["roughness"]


def test_held_out_conditions_may_differ_in_size_and_be_judged(
    evaluate: Evaluate, adapter: Path, tmp_path: Path
) -> None:
    from trainer.spatialworld.scenes import condition_at

    sizes = tmp_path / "sizes"
    conditions, pairs = [], []
    for index, repeat in enumerate((1, 2, 1)):
        image, mask, good, bad = (
            png(pixels.repeat(repeat, 0).repeat(repeat, 1))
            for pixels in (scene(index, True, 1), subject_mask(index), scene(index, True), scene(index, False))
        )
        conditions.append(ConditionInput(f"c{index}", f"s{index}", "validation", "a red car", image, mask))
        pairs.append(PairInput(f"p{index}", f"c{index}", good, bad, f"w{index}", f"l{index}", 0.9))
    write_snapshot(sizes, name="sizes", rules={}, conditions=conditions, pairs=pairs, winners=[])
    assert {(row.width, row.height) for row in read_snapshot(sizes).conditions} == {(32, 32), (64, 64)}
    assert evaluate("--images", "4", snapshot=sizes).keys() == IMAGES | {"diversity"}
    assert evaluate("--images", "1", "--adapter", str(adapter), snapshot=sizes)["pairs"] == 3

    world = condition_at(3, 0)
    judged = ConditionInput(
        "w", "sw", "validation", world.prompt, png(world.image), png(world.mask), spec=world.spec.to_json()
    )
    write_snapshot(
        tmp_path / "world", name="world", rules={}, conditions=[*conditions, judged], pairs=pairs, winners=[]
    )
    found = evaluate("--images", "2", snapshot=tmp_path / "world")
    assert found.keys() >= IMAGES | {"rational", "standard_error", "diversity"}
    assert 0 <= found["rational"] <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "0"], "samples.steps: Input should be greater than or equal to 1"),
        (["--steps", "1001"], "samples.steps: Input should be less than or equal to 1000"),
        (["--guidance", "nan"], "samples.guidance: Input should be a finite number"),
        (["--seed", "-1"], "samples.seed"),
    ],
)
def test_settings_are_checked_before_anything_is_loaded(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--snapshot", str(tmp_path / "none"), "--base", "/nowhere", *options]
    assert main(command) == ExitCode.BAD_CONFIG
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_a_number_of_images_is_above_0(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["evaluate"], ["sample", "--out", "none"]):
        with pytest.raises(SystemExit) as caught:
            main([*command, "--snapshot", "none", "--images", "0"])
        assert caught.value.code == ExitCode.BAD_CONFIG
        assert "--images: 0 is no whole number above 0" in capsys.readouterr().err


def test_a_snapshot_that_holds_nothing_out_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, mask = png(np.full((32, 32, 3), 90, np.uint8)), png(subject_mask(0))
    condition = ConditionInput("c", "s", "train", "a red car", image, mask)
    pair = PairInput("p", "c", png(scene(0, True)), png(scene(0, False)), "w", "l", 0.9)
    folder = tmp_path / "train"
    write_snapshot(folder, name="train", rules={}, conditions=[condition], pairs=[pair], winners=[])
    assert main(["evaluate", "--snapshot", str(folder), "--base", "/nowhere", "--json"]) == ExitCode.BAD_CONFIG
    assert json.loads(capsys.readouterr().out)["error"] == "nothing_held_out"
