"""D_w, D_l and margin of a generator on all held-out pairs of a snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trainer.contract.config import RunConfig
from trainer.contract.snapshot import Snapshot
from trainer.data.rows import RowBuilder
from trainer.data.source import TrainingData
from trainer.evaluation.held_out import HeldOut
from trainer.reference import GUIDANCE, ModelReference

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone


def measure_pairs(snapshot: Snapshot, backbone: Backbone, config: RunConfig) -> dict[str, float]:
    """Means over the held-out pairs, the adapter against its base; empty where there are none."""
    held_out = tuple(snapshot.pairs_of("validation"))
    if not held_out:
        return {}
    alone = replace(snapshot, pairs=held_out, winners=())  # what is not measured need not be encoded
    pooling, training = config.objective.mask_pooling, config.training
    data = TrainingData(alone, backbone, held_out_pairs=len(held_out), mask_pooling=pooling)
    data.encode()
    builder = RowBuilder(data, backbone, config.objective, training.seed)
    reference = ModelReference(backbone, GUIDANCE)
    at_once = min(training.micro_batch or training.pairs_per_step, training.pairs_per_step)
    held = HeldOut(data.held_out, builder, backbone, config.objective, reference, at_once)
    return held.measure(0, GUIDANCE).values
