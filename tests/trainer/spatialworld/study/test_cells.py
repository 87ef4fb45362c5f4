"""How arms are compared when some of their trainings are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from trainer.spatialworld.study.cells import cells, paired, share_a_seed, values
from trainer.spatialworld.study.scale import SMOKE, Study
from trainer.spatialworld.study.statistics import difference


def leave(study: Study, arm: str, seed: int, rational: list[float] | None) -> None:
    """A finished cell, or one that diverged."""
    folder = study.cell("arms", arm, seed)
    folder.mkdir(parents=True)
    record: dict[str, Any] = {"arm": arm, "seed": seed}
    if rational is None:
        record["failed"] = "the loss is NaN"
    else:
        np.savez(folder / "measures.npz", rational=np.array(rational)[:, None])
    (folder / "cell.json").write_text(json.dumps(record))


def test_trainings_are_compared_with_those_of_their_own_seed(tmp_path: Path) -> None:
    study = Study(tmp_path, SMOKE)
    for seed, first, second in ((0, [1, 1], None), (1, None, [0, 0]), (2, [1, 0], [0, 0]), (3, [0, 0], [0, 1])):
        leave(study, "dpo", seed, first)
        leave(study, "sft", seed, second)
    dpo, sft = (cells(study, "arms", arm) for arm in ("dpo", "sft"))
    assert len(values(dpo, "rational")) == len(values(sft, "rational")) == 3
    one, other = paired(dpo, sft, "rational")
    assert one.tolist() == [[1, 0], [0, 0]] and other.tolist() == [[0, 0], [0, 1]]
    assert difference(one, other).n == 4


def test_one_training_is_not_held_against_others_as_the_base_is(tmp_path: Path) -> None:
    study = Study(tmp_path, SMOKE)
    leave(study, "base", 0, [0, 1])
    for seed in (1, 2):
        leave(study, "sft", seed, [1, 1])
    leave(study, "dpo", 1, [0, 1])
    leave(study, "full", 3, [1, 1])
    base, sft, dpo, full = (cells(study, "arms", arm) for arm in ("base", "sft", "dpo", "full"))
    assert difference(*paired(sft, base, "rational")).mean == 0.5
    assert difference(*paired(sft, base, "rational")).n == 4
    assert difference(*paired(sft, dpo, "rational")).n == 2
    assert share_a_seed(full, base) and share_a_seed(sft, dpo) and not share_a_seed(sft, full)
