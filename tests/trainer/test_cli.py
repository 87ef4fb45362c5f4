"""The command line: words, JSON and exit codes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.contract.checkpoint import LORA_FILE, RunFolder
from trainer.contract.config import RunConfig
from trainer.contract.errors import ExitCode, disk_problem
from trainer.contract.recipes import RECIPES
from trainer.export import copy_out


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == ExitCode.FINISHED
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(RECIPES)
    assert main(["recipes", "spatialworld_demo", "--json"]) == ExitCode.FINISHED
    assert json.loads(capsys.readouterr().out)["objective"]["capo"]["weight"] > 0


@pytest.mark.parametrize("command", [["recipes"], ["plan", "--recipe"]])
def test_a_mistyped_recipe_is_told_once_and_help_holds_no_list(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "flux_fil"]) == ExitCode.BAD_CONFIG
    error = capsys.readouterr().err
    assert "did you mean flux_fill?" in error and error.count("sdxl_inpaint_512") == 1
    with pytest.raises(SystemExit):
        main([command[0], "--help"])
    assert "sdxl_inpaint_512" not in capsys.readouterr().out


def test_the_plan_agrees_with_the_model(
    pipeline_folder: Path, snapshot_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainer.backbones.load import load_backbone

    options = ["plan", "--recipe", "spatialworld_smoke", "--set", f"model.base={pipeline_folder}", "--json"]
    assert main([*options, "--snapshot", str(snapshot_folder)]) == ExitCode.FINISHED
    planned = json.loads(capsys.readouterr().out)
    backbone = load_backbone(str(pipeline_folder))
    counts = [len(backbone.linear_layers(targets)) for targets in ("attention", "attention_mlp", "all")]
    assert 0 < counts[0] < counts[1] < counts[2]
    backbone.add_adapter(4, 4, "all", 0)
    assert planned["trainable_parameters"] == backbone.sizes()["adapter"]
    assert planned["train_pairs"] == 6 and planned["epochs"] == 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--set", "objective.bta=1"], ExitCode.BAD_CONFIG, "names no known key"),
        (["--set", "model.base=/nowhere"], ExitCode.MODEL_UNAVAILABLE, "holds no model_index.json"),
        (["--snapshot", "."], ExitCode.BAD_SNAPSHOT, "not a snapshot"),
        (["--snapshot", __file__], ExitCode.BAD_SNAPSHOT, "not a snapshot"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_its_code(
    options: list[str], code: ExitCode, words: str, smoke: RunConfig, snapshot_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base = ["train", "--recipe", "spatialworld_smoke", "--snapshot", str(snapshot_folder), "--out", str(tmp_path / "r")]
    assert main([*base, "--set", f"model.base={smoke.model.base}", *options]) == code
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


@pytest.mark.parametrize("name", ["EACCES", "EPERM", "EEXIST", "ENOTDIR", "EISDIR", "ENOSPC"])
def test_what_the_disk_refuses_is_told_with_its_place(name: str) -> None:
    problem = disk_problem(OSError(getattr(errno, name), "no", "there/file"))
    assert problem and problem.exit_code == ExitCode.DISK and "there/file" in problem.message
    assert disk_problem(OSError(errno.ENOENT, "no", "there/file")) is None


def test_a_file_named_as_the_folder_for_samples_is_refused(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    options = ["--snapshot", str(snapshot_folder), "--out", str(file), "--set", f"model.base={smoke.model.base}"]
    assert main(["sample", "--recipe", "spatialworld_smoke", *options]) == ExitCode.DISK
    error = capsys.readouterr().err
    assert f"The folder {file} cannot be used" in error and "Traceback" not in error


def test_a_wrong_command_line_is_a_bad_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train"])
    assert caught.value.code == ExitCode.BAD_CONFIG


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (["--recipe", "flux_fil"], "recipe_unknown", "no recipe 'flux_fil' (did you mean flux_fill?)"),
        (["--recipe", "flux_fill_debug", "--sise", "64"], "command_line", "unrecognized arguments: --sise 64"),
        ([], "command_line", "one of the arguments --recipe --config is required"),
        (["--recipe", "flux_fill_debug", "--set", "lora.rank=0"], "config_invalid", "lora.rank"),
    ],
)
def test_programs_are_told_of_a_bad_command_in_json(
    options: list[str], error: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: list[str]) -> int:
        try:
            return main(arguments)
        except SystemExit as ended:
            return int(ended.code or 0)

    assert run(["plan", *options, "--json"]) == ExitCode.BAD_CONFIG
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["error"] == error and words in told["message"] and words in err
    assert run(["plan", *options]) == ExitCode.BAD_CONFIG
    assert capsys.readouterr().out == ""


def test_a_resumed_run_keeps_what_was_fitted(
    snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference's source too, whatever would be picked by now: another config would be refused."""
    train = ["train", "--recipe", "flux_fill_debug", "--snapshot", str(snapshot_folder), "--out", str(tmp_path / "run")]
    few = ["training.method=full", "training.steps=1", "samples.every=0", "validation.every=0"]
    options = [*train, *(f"--set={value}" for value in few)]
    assert main([*options, "--set", "reference.source=cache", "--set", "training.micro_batch=1"]) == ExitCode.FINISHED
    assert main([*options, "--resume", "auto", "--fit"]) == ExitCode.FINISHED
    assert "config" not in capsys.readouterr().err


def test_a_damaged_snapshot_is_named(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(snapshot_folder, broken)
    image = next((broken / "images").iterdir())
    image.write_bytes(image.read_bytes()[:30])
    options = ["--snapshot", str(broken), "--out", str(tmp_path / "run"), "--set", f"model.base={smoke.model.base}"]
    assert main(["train", "--recipe", "spatialworld_smoke", *options]) == ExitCode.BAD_SNAPSHOT
    assert image.name in capsys.readouterr().err


def test_export_checks_and_copies(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, config = tmp_path / "run", tmp_path / "config.json"
    config.write_text(smoke.model_dump_json())
    fast = ["--set", "training.steps=2", "--set", "samples.every=0", "--set", "validation.every=0"]
    train = ["train", "--config", str(config), "--snapshot", str(snapshot_folder), "--out", str(run), "--json", *fast]
    assert main(train) == ExitCode.FINISHED
    assert json.loads(capsys.readouterr().out)["state"] == "finished"
    weights, card = run / "adapter" / LORA_FILE, run / "adapter" / "README.md"
    assert weights.stat().st_mode == card.stat().st_mode
    assert main(["export", "--run", str(run), "--out", str(tmp_path / "a")]) == ExitCode.FINISHED
    assert (tmp_path / "a" / LORA_FILE).read_bytes() == (run / "adapter" / LORA_FILE).read_bytes()
    assert main(["export", "--run", str(run), "--step", "2", "--out", str(tmp_path / "b")]) == ExitCode.FINISHED
    assert main(["export", "--run", str(run), "--out", str(tmp_path / "a")]) == ExitCode.BAD_CONFIG
    capsys.readouterr()
    assert main(["export", "--run", str(run), "--step", "1", "--out", str(tmp_path / "c")]) == ExitCode.BAD_CONFIG
    assert f"no checkpoint of step 1 in {run}; there are: 2." in capsys.readouterr().err
    RunFolder(run).checkpoint(3).mkdir()
    assert main(["export", "--run", str(run), "--step", "3", "--out", str(tmp_path / "c")]) == ExitCode.DISK
    empty = ["export", "--run", str(tmp_path / "nothing"), "--out", str(tmp_path / "d")]
    assert main(empty) == ExitCode.BAD_CONFIG
    capsys.readouterr()
    for options, words in (
        ([], "either --run, or --recipe"),
        (["--run", str(run), "--recipe", "flux_fill_debug"], "either --run, or --recipe"),
        (["--run", str(run), "--set", "model.dtype=float32"], "exported as it was trained"),
        (["--recipe", "flux_fill_debug", "--step", "2"], "--step names a checkpoint of a run"),
    ):
        assert main(["export", "--out", str(tmp_path / "e"), *options]) == ExitCode.BAD_CONFIG
        assert words in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(("umask", "modes"), [(0o022, (0o755, 0o644)), (0o027, (0o750, 0o640))])
def test_what_is_exported_has_the_umasks_modes(umask: int, modes: tuple[int, int], tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "unet").mkdir(parents=True)
    for name in ("model_index.json", "unet/config.json"):
        (source / name).touch()
        (source / name).chmod(0o600)
    for folder in (source / "unet", source):
        folder.chmod(0o700)
    before = os.umask(umask)
    try:
        copy_out(source, out)
    finally:
        os.umask(before)
    found = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in (out, *out.rglob("*"))}
    folder, file = modes
    assert found == {"out": folder, "out/unet": folder, "out/model_index.json": file, "out/unet/config.json": file}


def test_a_fully_tuned_model_is_exported_whole(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainer.backbones.load import load_backbone

    run, config = tmp_path / "run", tmp_path / "config.json"
    config.write_text(smoke.model_dump_json())
    few = {"training.method": "full", "training.steps": 1, "samples.every": 0, "validation.every": 0}
    train = ["train", "--config", str(config), "--snapshot", str(snapshot_folder), "--out", str(run)]
    assert main([*train, *(f"--set={name}={value}" for name, value in few.items())]) == ExitCode.FINISHED
    capsys.readouterr()
    assert main(["export", "--run", str(run), "--out", str(tmp_path / "whole"), "--json"]) == ExitCode.FINISHED
    assert json.loads(capsys.readouterr().out)["model"] == str(tmp_path / "whole")
    assert load_backbone(str(tmp_path / "whole"), device="cpu").family == "flux_fill"
    assert main(["export", "--run", str(run), "--step", "1", "--out", str(tmp_path / "part")]) == ExitCode.FINISHED
    assert [part.name for part in (tmp_path / "part").iterdir()] == ["transformer"]
