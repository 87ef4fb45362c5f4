"""Tracked noise: win and lose meet the noise they were really sampled from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.conftest import SIZE, png, scene, subject_mask
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import SnapshotError
from trainer.contract.snapshot import ConditionInput, PairInput, Snapshot, read_snapshot, write_snapshot
from trainer.noise import sampling_noise


def snapshot_of(folder: Path, *lose_seeds: int | None) -> Snapshot:
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    conditions = [ConditionInput("c0", "s0", "train", "a red car", png(image), png(subject_mask(0)))]
    win, lose = png(scene(0, True)), png(scene(0, False))
    pairs = [
        PairInput(f"p{i}", "c0", win, lose, "w", f"l{i}", win_seed=7, lose_seed=seed)
        for i, seed in enumerate(lose_seeds)
    ]
    write_snapshot(folder, name="seeds", rules={}, conditions=conditions, pairs=pairs, winners=[])
    return read_snapshot(folder)


def rows_of(config: RunConfig, snapshot: Snapshot) -> tuple[Any, Any]:
    from trainer.backbones.load import load_backbone
    from trainer.data.shards import ShardStore
    from trainer.schedule import Schedule

    backbone = load_backbone(config.model.base, dtype="float32", device="cpu")
    schedule = Schedule(config, snapshot, backbone, ShardStore(None))
    schedule.data.encode(schedule.crops())
    return backbone, schedule.builder.build(0, schedule.pairs(0), schedule.slots[0])[0]


def test_each_member_has_the_noise_of_its_seed(smoke: RunConfig, tmp_path: Path) -> None:
    tracked = apply_overrides(
        smoke, {"objective.noise": "tracked", "objective.scpo.weight": 0, "training.pairs_per_step": 1}
    )
    snapshot = snapshot_of(tmp_path / "with", 8)
    assert (snapshot.pairs[0].win_seed, snapshot.pairs[0].lose_seed) == (7, 8)
    backbone, batch = rows_of(tracked, snapshot)
    noise = batch.target + batch.clean  # rectified flow: the target is noise - clean
    for row, seed in ((0, 7), (1, 8)):
        assert torch.allclose(noise[row], sampling_noise(backbone.latent_shape(SIZE, SIZE), seed), atol=1e-5)
    assert batch.t[0] == batch.t[1]
    _, drawn = rows_of(apply_overrides(tracked, {"objective.noise": "drawn"}), snapshot)
    shared = drawn.target + drawn.clean
    assert torch.allclose(shared[0], shared[1], atol=1e-5)


def test_a_pair_without_seeds_is_named(smoke: RunConfig, tmp_path: Path) -> None:
    tracked = apply_overrides(
        smoke, {"objective.noise": "tracked", "objective.scpo.weight": 0, "training.pairs_per_step": 1}
    )
    with pytest.raises(SnapshotError, match=r"pairs.parquet \(p0\): the seed .* set objective.noise=drawn"):
        rows_of(tracked, snapshot_of(tmp_path / "without", None))
    # It is named at once, whichever step it would come up at.
    snapshot = snapshot_of(tmp_path / "one", *range(8), None)
    with pytest.raises(SnapshotError, match=r"pairs.parquet \(p8\)"):
        rows_of(apply_overrides(tracked, {"training.seed": 3}), snapshot)
