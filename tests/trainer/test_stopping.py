"""Ctrl-C and SIGTERM: what is said, what is left, and that the same command goes on."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ExitCode
from trainer.contract.events import read_events

SAID = "stopped: The same command goes on from here; `train` takes --resume auto once it has a checkpoint.\n"


class Interrupting(io.StringIO):
    """A stderr on which some words, once, bring signals to the process."""

    def __init__(self, words: str, *signals: int) -> None:
        super().__init__()
        self._words, self._signals = words, list(signals)

    def write(self, text: str) -> int:
        count = super().write(text)
        if self._words in text:
            while self._signals:
                signal.raise_signal(self._signals.pop(0))
        return count


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The process's own, put back after a command has set its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def train(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path) -> list[str]:
    """A command that trains four steps in `tmp_path`/run."""
    values = {"training.steps": 4, "checkpoints.every": 9, "samples.every": 0, "validation.every": 0}
    file = tmp_path / "config.json"
    file.write_text(apply_overrides(smoke, values).model_dump_json())
    return ["train", "--config", str(file), "--snapshot", str(snapshot_folder), "--out", str(tmp_path / "run")]


def test_before_the_first_event_ctrl_c_ends_with_a_sentence(
    train: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = Interrupting("planning the run", signal.SIGINT)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(train) == ExitCode.CANCELLED
    assert stderr.getvalue().endswith(SAID) and not (tmp_path / "run").exists()


def test_the_first_ctrl_c_is_answered_and_the_second_heeded_at_once(
    train: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    stderr = Interrupting("step 1/4", signal.SIGINT, signal.SIGINT)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(train) == ExitCode.CANCELLED
    assert "stopping after the step in hand; Ctrl-C again to stop at once\n" in capfd.readouterr().err
    assert stderr.getvalue().endswith(SAID)
    assert read_events(run.events)[0][-1].kind == "cancelled" and not run.published_checkpoints()
    assert json.loads(run.result.read_text())["state"] == "cancelled"
    stderr = Interrupting("step 1/4", signal.SIGINT)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main([*train, "--resume", "auto"]) == ExitCode.CANCELLED
    assert [step for step, _ in run.published_checkpoints()] == [1] and SAID not in stderr.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cache_that_is_asked_to_stop_keeps_what_it_has(
    train: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    options = ["cache", *train[1:5], "--cache", str(tmp_path / "cache"), "--set", "training.encode_batch=1", "--json"]
    monkeypatch.setattr(sys, "stderr", Interrupting("0/", number))
    assert main(options) == ExitCode.CANCELLED
    assert json.loads(capsys.readouterr().out)["error"] == "stopped"
    assert main(options) == ExitCode.FINISHED
