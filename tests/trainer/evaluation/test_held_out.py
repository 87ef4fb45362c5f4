"""Held-out pairs: as many a forward as the run trains on, and the same figures by any number of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.events import Validation, read_events
from trainer.contract.snapshot import read_snapshot
from trainer.evaluation import held_out
from trainer.evaluation.pairs import measure_pairs


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each of the policy's forwards over held-out pairs."""
    seen: list[int] = []
    predict = held_out.policy_prediction

    def counted(backbone: held_out.Backbone, batch: held_out.Batch, guidance: float) -> Tensor:
        seen.append(len(batch.rows))
        return predict(backbone, batch, guidance)

    monkeypatch.setattr(held_out, "policy_prediction", counted)
    return seen


def in_steps_of(smoke: RunConfig, pairs: int, micro_batch: int | None) -> RunConfig:
    quick = {"training.steps": 1, "samples.every": 0, "model.dtype": "float32", "validation.every": 1}
    return apply_overrides(
        smoke, {**quick, "training.pairs_per_step": pairs, "training.micro_batch": micro_batch, "validation.pairs": 3}
    )


def test_a_validation_takes_no_more_pairs_at_once_than_training(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, rows: list[int]
) -> None:
    from trainer.engine import train

    found = []
    for name, micro_batch, expected in (("one", 1, [2, 2, 2]), ("whole", None, [6])):
        folder = RunFolder(tmp_path / name)
        train(snapshot_folder, in_steps_of(smoke, 3, micro_batch), folder.root)
        assert rows == expected * 2, "at step 0 and after the last"
        rows.clear()
        found.append([event.values for event in read_events(folder.events)[0] if isinstance(event, Validation)])
    one, whole = found
    assert one[0] == pytest.approx(whole[0], rel=1e-4, abs=1e-6) and one[0]["pairs"] == 3


def test_an_evaluation_takes_no_more_pairs_at_once_than_training(
    smoke: RunConfig, snapshot_folder: Path, rows: list[int]
) -> None:
    from trainer.backbones.load import load_backbone

    snapshot = read_snapshot(snapshot_folder)
    for pairs, micro_batch, expected in ((4, 1, [2, 2, 2]), (1, 4, [2, 2, 2]), (2, None, [4, 2])):
        backbone = load_backbone(smoke.model.base, dtype="float32", device="cpu")
        backbone.add_adapter(2, 2, "attention", 0)
        measure_pairs(snapshot, backbone, in_steps_of(smoke, pairs, micro_batch))
        assert rows == expected
        rows.clear()
