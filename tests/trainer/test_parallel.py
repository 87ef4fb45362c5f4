"""Two processes by torchrun over gloo do what one does: the same losses, order and noise, everything written once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError, ExitCode, TrainerError
from trainer.contract.events import read_events
from trainer.parallel import Processes

SPEED = ("pairs_per_second", "seconds_per_step", "peak_memory_bytes")
TOLERANCE = 1e-5
"""Relative: two processes take a step's sums in another order, in float32."""

VARIANTS: dict[str, dict[str, object]] = {
    "lora": {"training.ema": 0.9},
    "full": {"training.method": "full", "optimizer.learning_rate": 1e-4},
    "full, cached reference": {"training.method": "full", "reference.source": "cache", "reference.draws": 2},
}


def settings(smoke: RunConfig, **more: object) -> RunConfig:
    base = {
        "model.dtype": "float32", "training.steps": 3, "training.pairs_per_step": 4, "training.micro_batch": 1,
        "training.threads": 1, "validation.every": 2, "samples.every": 2, "checkpoints.every": 2,
    }  # fmt: skip
    return apply_overrides(smoke, {**base, **more})


def arguments_of(config: RunConfig, snapshot: Path, out: Path) -> list[str]:
    file = out.with_suffix(".json")
    file.write_text(config.model_dump_json())
    return ["train", "--config", str(file), "--snapshot", str(snapshot), "--out", str(out)]


def torchrun(config: RunConfig, snapshot: Path, out: Path) -> None:
    """As a user starts it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "trainer"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command + arguments_of(config, snapshot, out), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def places() -> list[dict[str, str]]:
    """What torchrun tells each of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return [{**place, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]


def forked(start_trainer: Callable[..., Any], config: RunConfig, snapshot: Path, out: Path) -> None:
    """What torchrun does, without its imports."""
    processes = [start_trainer(arguments_of(config, snapshot, out), place) for place in places()]
    assert [process.wait() for process in processes] == [0, 0]


def figures(folder: RunFolder) -> dict[tuple[str, int], dict[str, float]]:
    return {
        (event.kind, event.step): {name: value for name, value in event.values.items() if name not in SPEED}
        for event in read_events(folder.events)[0]
        if event.kind in ("metrics", "validation")
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_two_processes_train_as_one(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, start_trainer: Callable[..., Any], variant: str
) -> None:
    from safetensors.torch import load_file

    from trainer.checkpoint import STATE
    from trainer.engine import train

    config = settings(smoke, **VARIANTS[variant])
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    train(snapshot_folder, config, one.root)
    if variant == "lora":
        torchrun(config, snapshot_folder, two.root)
    else:
        forked(start_trainer, config, snapshot_folder, two.root)
    alone, shared = figures(one), figures(two)
    assert alone.keys() == shared.keys()
    for place, values in alone.items():
        assert shared[place] == pytest.approx(values, rel=TOLERANCE, abs=TOLERANCE), place
    events, _ = read_events(two.events)
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.kind for event in events].count("finished") == 1
    assert [step for step, _ in two.published_checkpoints()] == [3, 2]
    mine, theirs = (load_file(folder.checkpoint(3) / STATE) for folder in (one, two))
    assert mine.keys() == theirs.keys() and all(mine[name].shape == theirs[name].shape for name in mine)
    weights = [name for name in mine if name.startswith("weight/")]
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in weights) < 1e-4


SIGNALLED = """
import os, signal, sys
from trainer.cli import main
from trainer.data.shards import ShardStore
put, done = ShardStore.put, 0
def put_and_signal(store, entries):
    global done
    put(store, entries)
    done += 1
    if done == 3 and os.environ["RANK"] == os.environ["SIGNALLED"]:
        os.kill(os.getpid(), signal.SIGTERM)
ShardStore.put = put_and_signal
sys.exit(main(sys.argv[1:]))
"""
"""A process of two that gets a SIGTERM while it encodes."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("signalled", ["0", "1"])
def test_a_signal_to_one_process_stops_all_of_them_while_they_encode(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, signalled: str
) -> None:
    """The same exit code in both, whole shards alone, and what is there is used when the run is taken up."""
    from trainer.data.shards import ShardStore
    from trainer.engine import train

    config = settings(smoke, **{"training.steps": 2, "training.encode_batch": 1, "samples.every": 0})
    folder = RunFolder(tmp_path / "run")
    arguments = [sys.executable, "-c", SIGNALLED, *arguments_of(config, snapshot_folder, folder.root)]
    base = {**os.environ, "OMP_NUM_THREADS": "1", "SIGNALLED": signalled}
    processes = [subprocess.Popen(arguments, env=base | place) for place in places()]
    assert [process.wait() for process in processes] == [ExitCode.CANCELLED, ExitCode.CANCELLED]
    result = json.loads(folder.result.read_text())
    assert (result["state"], result["step"], result["checkpoint"]) == ("cancelled", 0, None)
    assert [event.kind for event in read_events(folder.events)[0]][-1] == "cancelled"
    encoded = folder.cache / "encoded"
    assert len(ShardStore(encoded)) == 6 and not list(encoded.glob(".*")), "three by each of them"
    assert train(snapshot_folder, config, folder.root, resume=True).state == "finished"
    progress = [event for event in read_events(folder.events)[0] if event.kind == "progress" and not event.done]
    assert progress[1].total == progress[0].total - 6


@pytest.mark.timeout(300)
def test_another_number_of_processes_is_refused_with_words(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, start_trainer: Callable[..., Any]
) -> None:
    from trainer.engine import train

    config = settings(smoke, **{"training.steps": 2, "samples.every": 0})
    folder = RunFolder(tmp_path / "run")
    forked(start_trainer, config, snapshot_folder, folder.root)
    manifest = json.loads((folder.checkpoint(2) / "manifest.json").read_text())
    assert manifest["processes"] == 2
    with pytest.raises(ConfigError, match="shared by 2 processes, not 1"):
        train(snapshot_folder, config, folder.root, resume=True)
    assert train(snapshot_folder, config, folder.root, resume=True, force=True).state == "finished"


def test_each_process_plans_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    Processes().take_device()
    Processes(3, 4, 1).take_device()
    assert taken == [1]


def test_a_step_that_cannot_be_shared_out_is_refused() -> None:
    processes = Processes(0, 4)
    processes.check_forwards(6, sharded=False)
    processes.check_forwards(8, sharded=True)
    for forwards, sharded, words in ((3, False, "at least 4"), (6, True, "a multiple of 4")):
        with pytest.raises(ConfigError, match=words):
            processes.check_forwards(forwards, sharded=sharded)


def test_the_processes_share_everything_out_once() -> None:
    items = list(range(11))
    parts = [Processes(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for part in parts for item in part) == items


def test_an_error_of_the_first_process_reaches_the_others_whole() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ConfigError("some_code", "Some words.")))
    assert isinstance(error, TrainerError) and (error.code, error.message) == ("some_code", "Some words.")
