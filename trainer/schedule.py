"""What every step of a run trains on, and what has to be encoded and known of the reference for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from trainer.contract.config import OptimizerConfig, RunConfig
from trainer.contract.errors import SnapshotError
from trainer.contract.snapshot import Pair, Snapshot
from trainer.data.order import PairOrder
from trainer.data.rows import Row, RowBuilder, slots_of
from trainer.data.source import Crop, TrainingData
from trainer.evaluation.grid import shown_conditions
from trainer.reference import batches_of_rows
from trainer.terms import counts_of

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone
    from trainer.data.encoders import Prints
    from trainer.data.shards import ShardStore


class Schedule:
    """Pairs, slots and rows of each step: functions of config and snapshot, not of where a run stands."""

    def __init__(
        self,
        config: RunConfig,
        snapshot: Snapshot,
        backbone: Backbone,
        store: ShardStore,
        prints: Prints | None = None,
        processes: int = 1,
    ) -> None:
        training = config.training
        micro_batch = training.micro_batch or -(-training.pairs_per_step // processes)
        held_out = config.validation.pairs if config.validation.every else 0
        self.pairs_at_once = min(micro_batch, training.pairs_per_step)
        self._steps = training.steps
        self.data = TrainingData(
            snapshot, backbone, held_out_pairs=held_out, store=store, encode_batch=training.encode_batch,
            mask_pooling=config.objective.mask_pooling, prints=prints, shown=shown_conditions(snapshot, config.samples),
        )  # fmt: skip
        if not self.data.pairs:
            raise SnapshotError("no_pairs", "pairs.parquet holds no pair of the train split: nothing to train on.")
        draws = config.reference.draws if config.reference.source == "cache" else None
        self.builder = RowBuilder(self.data, backbone, config.objective, training.seed, draws)
        self.builder.check_seeds(self.data.pairs)
        sizes = [self.data.size(pair.condition_id) for pair in self.data.pairs]
        self._order = PairOrder(sizes, training.pairs_per_step, training.seed)
        self.slots = slots_of(training.pairs_per_step, micro_batch, config.objective)
        self.counts = counts_of(self.slots)

    def pairs(self, step: int) -> list[Pair]:
        """The pairs of step 0, 1, ..."""
        return [self.data.pairs[index] for index in self._order.at(step)]

    def crops(self) -> Iterable[Crop]:
        """Every crop of CAPO that some step needs."""
        return {
            crop
            for step in range(self._steps)
            for slots in self.slots
            if slots.capo
            for crop in self.builder.crops(step, self.pairs(step), slots)
        }

    def referenced(self) -> Iterator[list[Row]]:
        """Every row whose reference some step or the validation needs, once, in batches of one image size."""
        at_once = max(2 * len(s.pairs) + 2 * len(s.capo) + len(s.scpo) for s in self.slots)
        yield from batches_of_rows(self.data, self._keyed(), max(1, at_once))

    def _keyed(self) -> Iterator[tuple[str, Row]]:
        held_out = self.builder.held_out_rows(self.data.held_out)
        steps = (
            row
            for step in range(self._steps)
            for slots in self.slots
            for row in self.builder.referenced(step, self.pairs(step), slots)
        )
        for rows in (held_out, steps):
            for row in rows:
                yield self.builder.key(row), row


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of step 0, 1, ... of `steps`."""
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return config.learning_rate * warm
    done = max(0, step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    fall = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * warm * fall
