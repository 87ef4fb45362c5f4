"""Killed anywhere, resumed, and the same to the last bit as a run never stopped."""

from __future__ import annotations

import errno
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from trainer.contract.checkpoint import LORA_FILE, RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError, ExitCode, StorageError
from trainer.contract.events import read_events

STEPS = 12


@pytest.fixture
def config(smoke: RunConfig) -> RunConfig:
    return apply_overrides(
        smoke, {"training.steps": STEPS, "checkpoints.every": 3, "samples.every": 0, "validation.every": 4}
    )


@pytest.fixture
def launch(start_trainer: Callable[..., Any]) -> Callable[..., Any]:
    def start(config: RunConfig, snapshot: Path, out: Path) -> Any:
        file = out.with_suffix(".json")
        file.write_text(config.model_dump_json())
        arguments = ["train", "--config", str(file), "--snapshot", str(snapshot), "--out", str(out)]
        return start_trainer([*arguments, "--resume", "auto"])

    return start


def wait_for_step(folder: RunFolder, step: int, process: Any) -> None:
    """Return as soon as the event stream tells of a step; the wait is bounded by the test's timeout."""
    while process.poll() is None:
        if any(event.step >= step for event in read_events(folder.events)[0]):
            return
        time.sleep(0.005)


def losses(folder: RunFolder) -> dict[tuple[str, int], dict[str, float]]:
    """Figures by step; a later attempt's repeat of a step must agree with the earlier one's."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for event in read_events(folder.events)[0]:
        if event.kind in ("metrics", "validation"):
            values = {
                name: value
                for name, value in event.values.items()
                if name not in ("pairs_per_second", "seconds_per_step", "peak_memory_bytes")
            }
            assert found.setdefault((event.kind, event.step), values) == values
    return found


VARIANTS: dict[str, dict[str, object]] = {
    "lora": {},
    "lora, cached reference": {"reference.source": "cache", "reference.draws": 2},
    "full, average, early stop": {
        "training.method": "full", "training.ema": 0.9, "validation.patience": 9, "validation.every": 2,
    },
}  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_kill_minus_nine_changes_nothing(
    config: RunConfig, snapshot_folder: Path, tmp_path: Path, launch: Callable[..., Any], variant: str
) -> None:
    from trainer.checkpoint import check

    config = apply_overrides(config, VARIANTS[variant])
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    assert launch(config, snapshot_folder, whole.root).wait() == ExitCode.FINISHED
    step = random.randrange(1, STEPS)
    process = launch(config, snapshot_folder, killed.root)
    wait_for_step(killed, step, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.result.exists()
    assert launch(config, snapshot_folder, killed.root).wait() == ExitCode.FINISHED
    events, _ = read_events(killed.events)
    assert [event.seq for event in events] == list(range(len(events)))
    assert losses(killed) == losses(whole), f"killed at step {step}"
    product = "model" if config.training.method == "full" else "adapter"
    assert published(killed.root / product) == published(whole.root / product)
    last = whole.checkpoint(STEPS)
    assert check(killed.checkpoint(STEPS)).files == check(last).files


def published(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(name.endswith(".safetensors") for name in files)
    return files


@pytest.mark.timeout(300)
def test_a_signal_and_a_cancel_file_stop_at_a_step_and_resume_exactly(
    config: RunConfig, snapshot_folder: Path, tmp_path: Path, launch: Callable[..., Any]
) -> None:
    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    assert launch(config, snapshot_folder, whole.root).wait() == ExitCode.FINISHED
    process = launch(config, snapshot_folder, stopped.root)
    wait_for_step(stopped, 1, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == ExitCode.CANCELLED
    result = json.loads(stopped.result.read_text())
    assert result["state"] == "cancelled" and result["checkpoint"]
    process = launch(config, snapshot_folder, stopped.root)
    wait_for_step(stopped, result["step"] + 2, process)
    stopped.cancel.touch()
    assert process.wait() == ExitCode.CANCELLED
    assert launch(config, snapshot_folder, stopped.root).wait() == ExitCode.FINISHED
    assert losses(stopped) == losses(whole)
    assert (stopped.adapter / LORA_FILE).read_bytes() == (whole.adapter / LORA_FILE).read_bytes()
    kinds = [event.kind for event in read_events(stopped.events)[0]]
    assert kinds.count("started") == 1 and kinds.count("cancelled") == 2 and kinds.count("resumed") == 2


def test_damaged_checkpoints_are_passed_over(config: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.engine import train

    folder = RunFolder(tmp_path / "run")
    train(snapshot_folder, config, folder.root)
    state = folder.checkpoint(STEPS) / "state.safetensors"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    assert train(snapshot_folder, config, folder.root, resume=True).state == "finished"
    events, _ = read_events(folder.events)
    resumed = [event for event in events if event.kind == "resumed"]
    assert [event.step for event in resumed] == [9]
    assert any("state.safetensors is missing or damaged" in e.message for e in events if e.kind == "warning")
    for _, path in folder.published_checkpoints():
        (path / "state.safetensors").unlink()
    with pytest.raises(
        StorageError, match=r"No checkpoint of this run is whole: .* Take a new folder, or remove these"
    ):
        train(snapshot_folder, config, folder.root, resume=True)
    assert read_events(folder.events)[0][-1].kind == "failed"


def test_changed_runs_are_refused_with_words(config: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.engine import train

    short = apply_overrides(config, {"training.steps": 1, "validation.every": 0})
    train(snapshot_folder, short, tmp_path / "run")
    finished = RunFolder(tmp_path / "run").result.read_bytes()
    with pytest.raises(ConfigError, match="holds a run already; go on with it by --resume auto"):
        train(snapshot_folder, short, tmp_path / "run")
    more = apply_overrides(config, {"objective.preference": "dpo", "training.seed": 1, "telemetry.project": "other"})
    with pytest.raises(ConfigError, match="differs from the one run was started with") as refused:
        train(snapshot_folder, more, tmp_path / "run", resume=True)
    named = "objective.preference mask_dpo → dpo, training.steps 1 → 12, training.seed 0 → 1. Resuming"
    assert named in refused.value.message
    record = json.loads((tmp_path / "run" / "snapshot.json").read_text())
    (tmp_path / "run" / "snapshot.json").write_text(json.dumps({**record, "content_hash": "0" * 64}))
    with pytest.raises(ConfigError, match="was started on snapshot 000000000000"):
        train(snapshot_folder, short, tmp_path / "run", resume=True)
    (tmp_path / "run" / "snapshot.json").write_text('{"folder": "')
    with pytest.raises(StorageError, match=r"snapshot.json is damaged, so it cannot be told which snapshot"):
        train(snapshot_folder, short, tmp_path / "run", resume=True)
    assert RunFolder(tmp_path / "run").result.read_bytes() == finished


def test_a_run_that_failed_before_its_first_checkpoint_begins_again_with_what_was_mended(
    config: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.contract.errors import DivergedError
    from trainer.engine import train

    folder = RunFolder(tmp_path / "run")
    wild = apply_overrides(config, {"optimizer.learning_rate": 1e30, "optimizer.warmup_steps": 0})
    with pytest.raises(DivergedError, match=r"lower optimizer\.learning_rate"):
        train(snapshot_folder, wild, folder.root)
    assert (
        json.loads(folder.result.read_text())["exit_code"] == ExitCode.DIVERGED and not folder.published_checkpoints()
    )
    folder.config.write_bytes(folder.config.read_bytes()[:200])
    short = apply_overrides(config, {"training.steps": 1, "validation.every": 0})
    assert train(snapshot_folder, short, folder.root).state == "finished"
    shutil.rmtree(folder.checkpoints)
    with pytest.raises(ConfigError, match="holds a run already"):
        train(snapshot_folder, short, folder.root)


def test_a_finished_run_is_trained_longer_by_force_and_shown_otherwise_without(
    config: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    """A changed length is refused, another grid or log is not; a config.json cut in half stops only the unforced."""
    from trainer.engine import train

    folder = RunFolder(tmp_path / "run")
    short = apply_overrides(config, {"training.steps": 1, "validation.every": 0})
    train(snapshot_folder, short, folder.root)
    longer = apply_overrides(short, {"training.steps": 2})
    with pytest.raises(ConfigError, match=r"training\.steps 1 → 2\. Resuming would mix two runs\. .* by --force\."):
        train(snapshot_folder, longer, folder.root, resume=True)
    other = {"training.log_every": 7, "checkpoints.keep": 5, "samples.steps": 3, "validation.pairs": 1}
    assert train(snapshot_folder, apply_overrides(short, other), folder.root, resume=True).step == 1
    folder.config.write_bytes(folder.config.read_bytes()[:200])
    with pytest.raises(ConfigError, match=r"config\.json is not valid json.* by --force\."):
        train(snapshot_folder, longer, folder.root, resume=True)
    assert train(snapshot_folder, longer, folder.root, resume=True, force=True).step == 2


def test_patience_without_held_out_pairs_is_refused(config: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.contract.snapshot import ConditionInput, PairInput, read_snapshot, write_snapshot
    from trainer.engine import train

    small = read_snapshot(snapshot_folder)
    row, pair = small.conditions[0], small.pairs_of("train")[0]
    data = {name: small.path(name).read_bytes() for name in (row.image, row.mask, pair.win, pair.lose)}
    condition = ConditionInput(row.condition_id, "s", "train", row.prompt, data[row.image], data[row.mask])
    judged = PairInput("p", row.condition_id, data[pair.win], data[pair.lose], "w", "l", 0.9)
    write_snapshot(tmp_path / "one", name="one", rules={}, conditions=[condition], pairs=[judged], winners=[])
    watched = apply_overrides(config, {"validation.patience": 1})
    with pytest.raises(ConfigError, match=r"validation\.patience watches held-out pairs, but the snapshot has no pair"):
        train(tmp_path / "one", watched, tmp_path / "run")


FULL = (
    OSError(errno.ENOSPC, "No space left on device", "state.safetensors"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
)
"""What a full disk makes of a write: in Python, and in the library that writes the weights."""


@pytest.mark.parametrize("error", FULL, ids=["system", "library"])
def test_a_full_disk_is_named_and_the_last_checkpoint_stays(
    config: RunConfig, snapshot_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The system call fails as it does on a full disk, once the run is under way."""
    from safetensors import torch as safetensors

    from trainer.checkpoint import last_good
    from trainer.engine import train

    save = safetensors.save_file

    def full(*arguments: object, **options: object) -> None:
        if "step-000006" in str(arguments[1]):
            raise error
        save(*arguments, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(safetensors, "save_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        train(snapshot_folder, config, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert json.loads(folder.result.read_text())["exit_code"] == ExitCode.DISK
    good = last_good(folder)
    assert good is not None and good[0].step == 3
    assert [path.name for path in folder.checkpoints.iterdir()] == ["step-000003"]
