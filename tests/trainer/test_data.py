"""Noise by counter, the order of pairs, crops, and rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import SnapshotError
from trainer.contract.objective import CapoConfig, ObjectiveConfig
from trainer.data.crops import SubjectMask, Window, crop, crop_and_scale, draw_windows, overlap
from trainer.data.order import PairOrder
from trainer.data.rows import slots_of
from trainer.noise import gaussian, timestep


def test_noise_depends_on_its_key_alone() -> None:
    first = gaussian((4, 4), 1, "pair", 3)
    gaussian((100,), 2, "other", 0)
    assert torch.equal(first, gaussian((4, 4), 1, "pair", 3))
    for other in (gaussian((4, 4), 2, "pair", 3), gaussian((4, 4), 1, "qair", 3), gaussian((4, 4), 1, "pair", 4)):
        assert not torch.equal(first, other)
    many = gaussian((200_000,), 0, "x", 0)
    assert abs(float(many.mean())) < 0.01 and abs(float(many.std()) - 1) < 0.01
    draws = [timestep(0.7, 1.0, 0, "x", i) for i in range(1000)]
    assert min(draws) >= 0.7 and max(draws) < 1 and abs(np.mean(draws) - 0.85) < 0.01


def test_the_order_visits_every_pair_in_steps_of_one_size() -> None:
    sizes = ["a"] * 7 + ["b"] * 3
    order = PairOrder(sizes, 4, seed=5)
    assert order.steps_per_epoch == 3
    for epoch in range(3):
        steps = [order.at(epoch * 3 + i) for i in range(3)]
        assert {index for step in steps for index in step} == set(range(10))
        assert all(len(step) == 4 and len({sizes[i] for i in step}) == 1 for step in steps)
    assert [order.at(i) for i in (7, 1)] == [PairOrder(sizes, 4, seed=5).at(i) for i in (7, 1)]
    assert [order.at(i) for i in range(3)] != [order.at(i) for i in range(3, 6)]


@pytest.mark.parametrize(
    ("reading", "windows"),
    [
        ("independent_crops", (Window(0, 0, 80, 80), Window(20, 20, 80, 80))),
        ("win_full_lose_crop", (Window(0, 0, 100, 100), Window(20, 0, 80, 80))),
    ],
)
def test_crops_that_no_windows_can_be_are_refused(reading: str, windows: tuple[Window, Window]) -> None:
    most = 1 - overlap(*windows)
    CapoConfig(reading=reading, scale_min=0.8, min_difference=most - 0.001)
    CapoConfig(weight=0.0, reading=reading, scale_min=0.8, min_difference=most + 0.001)
    with pytest.raises(ValidationError, match="cannot be met: lower either"):
        CapoConfig(reading=reading, scale_min=0.8, min_difference=most + 0.001)


def test_crops_meet_their_constraints_and_come_from_one_distribution() -> None:
    mask = np.full((64, 64), 255, np.uint8)
    mask[30:50, 20:44] = 0
    config, subject = CapoConfig(), SubjectMask(mask)
    sizes = []
    for draw in range(3000):
        first, second = windows = draw_windows(subject, config, 0, "pair", draw)
        assert 1 - overlap(first, second) >= config.min_difference
        for window in windows:
            inside = crop(mask, window)
            assert (inside == 0).sum() >= config.min_foreground * (mask == 0).sum()
            assert (inside == 255).mean() >= config.min_background
            assert 0.59 <= window.height / 64 <= 1
        sizes.append((first.height, second.height))
    larger = np.subtract(*np.transpose(sizes))
    assert abs(larger.mean()) < 2.5 * larger.std() / np.sqrt(len(larger))
    assert draw_windows(subject, config, 0, "pair", 7) == draw_windows(SubjectMask(mask), config, 0, "pair", 7)
    whole, _ = draw_windows(subject, CapoConfig(reading="win_full_lose_crop"), 0, "pair", 0)
    assert (whole.height, whole.width) == (64, 64)
    scaled = crop_and_scale(mask, first)
    assert scaled.shape == (64, 64) and set(np.unique(scaled)) <= {0, 255}


def test_impossible_constraints_take_the_nearest_miss() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[0, 0] = 255
    windows = draw_windows(SubjectMask(mask), CapoConfig(), 0, "pair", 0)
    assert all(window.height >= 19 for window in windows)


def test_slots_share_a_step_out() -> None:
    objective = ObjectiveConfig.model_validate({"capo": {"share": 0.5}, "replay": {"weight": 1, "per_step": 3}})
    slots = slots_of(8, 3, objective)
    assert [len(s.pairs) for s in slots] == [3, 3, 2]
    assert sum(len(s.capo) for s in slots) == 4 and sum(len(s.scpo) for s in slots) == 8
    assert sorted(slot for s in slots for slot in s.replay) == [0, 1, 2]


def test_micro_batches_give_the_loss_of_the_whole_step(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.contract.events import read_events
    from trainer.engine import train

    losses = []
    for name, micro in (("whole", None), ("cut", 1)):
        config = apply_overrides(
            smoke,
            {
                "model.dtype": "float32",
                "training.micro_batch": micro,
                "training.pairs_per_step": 3,
                "training.steps": 2,
                "samples.every": 0,
            },
        )
        train(snapshot_folder, config, tmp_path / name)
        events, _ = read_events(tmp_path / name / "events.jsonl")
        losses.append([event.values["loss"] for event in events if event.kind == "metrics"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("reading", ["independent_crops", "win_full_lose_crop", "condition_only"])
@pytest.mark.parametrize("pairing", ["same_condition", "cross_scene", "pull_up"])
def test_every_reading_trains(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, reading: str, pairing: str
) -> None:
    from trainer.engine import train

    overrides = {"objective.capo.reading": reading, "objective.scpo.pairing": pairing, "training.steps": 1}
    config = apply_overrides(smoke, {**overrides, "samples.every": 0, "validation.every": 0})
    assert train(snapshot_folder, config, tmp_path / "run").state == "finished"


@pytest.mark.parametrize("preference", ["dpo", "none"])
def test_the_baselines_train(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, preference: str) -> None:
    from trainer.engine import train

    off = {"objective": {"preference": preference, "capo": {"weight": 0}, "scpo": {"weight": 0}}}
    config = apply_overrides(smoke, {**off, "training.steps": 2, "samples.every": 0})
    assert train(snapshot_folder, config, tmp_path / "run").state == "finished"


def test_a_snapshot_without_training_pairs_is_named(smoke: RunConfig, tmp_path: Path, snapshot_folder: Path) -> None:
    from trainer.contract.snapshot import ConditionInput, read_snapshot, write_snapshot
    from trainer.engine import train

    snapshot = read_snapshot(snapshot_folder)
    row = snapshot.conditions[0]
    only = ConditionInput("c", "s", "train", "p", snapshot.path(row.image), snapshot.path(row.mask))
    write_snapshot(tmp_path / "empty", name="e", rules={}, conditions=[only], pairs=[], winners=[])
    with pytest.raises(SnapshotError, match="no pair of the train split"):
        train(tmp_path / "empty", smoke, tmp_path / "run")


def test_images_of_several_shapes_train_in_one_run_each_step_of_one_shape(smoke: RunConfig, tmp_path: Path) -> None:
    """Square and wide pairs: the order is a function of the seed, and a run resumed in the middle takes the same."""
    from PIL import Image

    from trainer.contract.events import read_events
    from trainer.contract.images import encode_png
    from trainer.contract.snapshot import ConditionInput, PairInput, WinnerInput, write_snapshot
    from trainer.engine import train

    def png(pixels: np.ndarray) -> bytes:
        return encode_png(Image.fromarray(pixels))

    conditions, pairs, winners = [], [], []
    for i in range(8):
        shape, name = ((32, 32), (32, 64))[i % 2], f"c{i}"
        random = np.random.default_rng(i)
        picture = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(3)]
        mask = np.full(shape, 255, np.uint8)
        mask[10:22, 8:20] = 0
        split = "train" if i < 6 else "validation"
        conditions.append(ConditionInput(name, f"s{i}", split, "a dog", png(picture[0]), png(mask)))
        pairs.append(PairInput(f"p{i}", name, png(picture[1]), png(picture[2]), f"w{i}", f"l{i}"))
        if shape == (32, 32):  # of the other size there are those of the pairs
            winners.append(WinnerInput(name, png(picture[1]), f"w{i}"))
    folder = tmp_path / "mixed"
    write_snapshot(folder, name="mixed", rules={}, conditions=conditions, pairs=pairs, winners=winners)
    config = apply_overrides(
        smoke, {"training.steps": 6, "samples.every": 0, "validation.every": 3, "checkpoints.every": 2,
                "reference.source": "cache", "objective.scpo.pairing": "cross_scene"},
    )  # fmt: skip
    train(folder, config, tmp_path / "whole", cache=tmp_path / "cache")
    events, _ = read_events(tmp_path / "whole" / "events.jsonl")
    losses = {event.step: event.values["loss"] for event in events if event.kind == "metrics"}
    assert len(losses) == 6 and all(np.isfinite(value) for value in losses.values())
    assert [event.values["pairs"] for event in events if event.kind == "validation"] == [2, 2, 2]
    newest = tmp_path / "whole" / "checkpoints" / "step-000006"
    (newest / "manifest.json").unlink()
    train(folder, config, tmp_path / "whole", resume=True, cache=tmp_path / "cache")
    again = {e.step: e.values["loss"] for e in read_events(tmp_path / "whole" / "events.jsonl")[0][len(events) :]
             if e.kind == "metrics"}  # fmt: skip
    assert again == {step: losses[step] for step in (5, 6)}
