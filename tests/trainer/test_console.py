"""What a person who waits sees of a run, a cache and a sampling."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.console import Console
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ExitCode
from trainer.contract.events import Metrics, Started, Warn


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines as a terminal shows them."""
        lines = [""]
        for character in self.getvalue().replace("\x1b[K", "\v"):
            if character == "\n":
                lines.append("")
            elif character == "\r":
                lines[-1] = ""  # every line that starts anew is cleared to its end
            elif character != "\v":
                lines[-1] += character
        return lines


def command(name: str, config: RunConfig, snapshot: Path, place: Path, *more: str) -> list[str]:
    file = place / "config.json"
    file.write_text(config.model_dump_json())
    return [name, "--config", str(file), "--snapshot", str(snapshot), *more]


def test_a_run_tells_where_it_is(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Phases, first and last step, looks, checkpoints and prediction; then what a resume went on from and passed by."""
    config = apply_overrides(smoke, {"training.steps": 4, "checkpoints.every": 2, "samples.conditions": 1})
    run = RunFolder(tmp_path / "run")
    options = command("train", config, snapshot_folder, tmp_path, "--out", str(run.root))
    assert main(options) == ExitCode.FINISHED
    captured = capsys.readouterr()
    told = captured.err.splitlines()
    assert told[:2] == ["loading the libraries and planning the run", "started: 4 steps on cpu"]
    assert told[2].startswith("0/") and told[2].endswith(" texts, conditions and images encoded")
    starts = [
        "self-check passed", "validation at step 0: loss_preference", "samples at step 0: 1 images in samples/",
        "step 1/4  loss ", "checkpoint: checkpoints/step-000002, ", "cost, predicted and measured: ", "step 4/4  loss ",
    ]  # fmt: skip
    for start in starts:
        assert any(line.startswith(start) for line in told), start
    assert captured.out == f"finished after step 4 of 4: {run.root}\n"
    state = run.checkpoint(4) / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    assert main([*options, "--resume"]) == ExitCode.FINISHED
    told = capsys.readouterr().err.splitlines()
    assert "resumed from step 2 of 4 (checkpoints/step-000002)" in told
    assert "warning (checkpoint_damaged): step-000004/state.safetensors is missing or damaged." in told


def test_caches_and_samplings_name_what_they_count(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = apply_overrides(smoke, {"reference.source": "cache", "reference.draws": 1, "training.steps": 1})
    cache = command("cache", config, snapshot_folder, tmp_path, "--cache", str(tmp_path / "cache"))
    assert main(cache) == ExitCode.FINISHED
    told = capsys.readouterr().err
    for words in ("texts, conditions and images encoded", "rows of the reference computed"):
        first, *_, last = [line.removesuffix(words) for line in told.splitlines() if line.endswith(words)]
        assert first.startswith("0/") and last.partition("/")[0] == last.partition("/")[2].strip()
    sample = command("sample", config, snapshot_folder, tmp_path, "--images", "1", "--out", str(tmp_path / "images"))
    assert main([*sample, "--set", "samples.steps=1"]) == ExitCode.FINISHED
    assert "1/1 images drawn\n" in capsys.readouterr().err


def test_on_a_terminal_steps_are_written_over_and_other_lines_stay() -> None:
    terminal = Terminal()
    console = Console(terminal)
    console.write(Started(snapshot="", config_hash="", config={}, total_steps=2000))
    for step, warned in ((10, False), (20, True), (30, False)):
        console.write(Metrics(step=step, values={"loss": 0.6125, "margin": 0.02, "seconds_per_step": 1.9}))
        if warned:
            console.write(Warn(step=step, code="mask_thin", message="A mask is thin."))
    console.close()
    assert terminal.screen() == [
        "started: 2000 steps on cpu",
        "warning (mask_thin): A mask is thin.",
        "step 30/2000  loss 0.613  margin 0.02  1.9 s a step, 1 h 2 min left",
        "",
    ]
