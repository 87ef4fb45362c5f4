"""The frozen reference: a model beside the policy, or its error maps computed once for fixed draws of noise.

As a model it is the same weights with the trained adapter off, or a frozen copy under full fine-tuning. As a cache it
is one map [1,h,w] of squared errors, summed over the channels, for each row that a run will see: any region and
reduction can be taken of it, and no step needs the reference's forward.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from trainer.contract.errors import ConfigError
from trainer.contract.files import write_durably
from trainer.data.shards import ShardStore
from trainer.noise import NOISE_SCHEME
from trainer.objectives import error_map
from trainer.parallel import ALONE, Processes

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.backbones.protocol import Backbone
    from trainer.data.rows import Batch, Row, RowBuilder
    from trainer.data.source import Progress, TrainingData

GUIDANCE = 1.0
"""Guidance embedding in training: guidance-distilled models are tuned at 1 and sampled at 30."""
MAP = "map"
IDENTITY = "reference.json"


def with_residuals(backbone: Backbone, batch: Batch, guidance: float) -> Batch:
    """The batch with what a ControlNet adds to policy and reference alike: computed once, for all its rows."""
    found = backbone.residuals(batch.noisy, batch.t, batch.condition, batch.text, guidance)
    return replace(batch, condition=batch.condition | found)


def reference_prediction(backbone: Backbone, batch: Batch, guidance: float) -> Tensor:
    """The reference's prediction [B,C,h,w] for a batch, without gradient, by the kernels the policy uses."""
    with torch.no_grad(), backbone.reference():
        return backbone.predict(batch.noisy, batch.t, batch.condition, batch.text, guidance)


def policy_prediction(backbone: Backbone, batch: Batch, guidance: float) -> Tensor:
    """The policy's prediction [B,C,h,w] for a batch, with gradient."""
    return backbone.predict(batch.noisy, batch.t, batch.condition, batch.text, guidance)


class Reference(Protocol):
    """Where the reference's errors come from."""

    def maps(self, batch: Batch) -> Tensor:
        """Squared errors of the reference, summed over channels: [B,1,h,w], float32, without gradient."""
        ...


class ModelReference:
    """The reference as a model: a forward for every batch."""

    def __init__(self, backbone: Backbone, guidance: float) -> None:
        self._backbone = backbone
        self._guidance = guidance

    def maps(self, batch: Batch) -> Tensor:
        return error_map(reference_prediction(self._backbone, batch, self._guidance), batch.target)


class UntrainedReference:
    """The policy before its first step, which is its own reference: what a cache is filled from without a copy."""

    def __init__(self, backbone: Backbone, guidance: float) -> None:
        self._backbone = backbone
        self._guidance = guidance

    @torch.no_grad()
    def maps(self, batch: Batch) -> Tensor:
        return error_map(policy_prediction(self._backbone, batch, self._guidance), batch.target)


@dataclass(frozen=True)
class Identity:
    """What the maps of a reference cache were computed with."""

    weights: str
    dtype: str
    noise_scheme: str
    guidance: float


class CachedReference:
    """The reference as error maps, read by the key of each row."""

    def __init__(self, store: ShardStore, builder: RowBuilder) -> None:
        self._store = store
        self._builder = builder

    def maps(self, batch: Batch) -> Tensor:
        found = [self._store.one(self._builder.key(row), MAP) for row in batch.rows]
        return torch.stack(found).to(batch.t.device)

    def fill(
        self,
        model: Reference,
        batches: Iterable[list[Row]],
        progress: Progress | None = None,
        processes: Processes = ALONE,
        *,
        together: bool = False,
    ) -> None:
        """Compute the maps that are missing; a batch is kept whole or not at all.

        `progress(done, total)` counts rows, from 0, where anything is missing. Several processes share the batches out
        and report each round of theirs together, or compute each batch `together`, where the model is sharded over
        them.
        """
        keyed = [[(self._builder.key(row), row) for row in rows] for rows in batches]
        missing = set(processes.once(lambda: self._store.missing(key for rows in keyed for key, _ in rows)))
        keyed = [rows for rows in keyed if any(key in missing for key, _ in rows)]
        try:
            for rows in (ALONE if together else processes).in_rounds(keyed, progress):
                maps = model.maps(self._builder.load([row for _, row in rows]))
                if processes.main or not together:
                    self._store.put({key: {MAP: value} for (key, _), value in zip(rows, maps, strict=True)})
        finally:
            self._store.flush()
        processes.wait()
        self._store.reopen()


def identity_of(weights: str, dtype: torch.dtype, guidance: float) -> Identity:
    """The identity of a reference whose weights have this fingerprint."""
    return Identity(weights, str(dtype).removeprefix("torch."), NOISE_SCHEME, guidance)


def claim_reference_folder(folder: Path, identity: Identity, *, force: bool) -> None:
    """Make or take up the folder of a reference cache. Raises ConfigError when the maps in it are another reference's.

    With `force`, what is stale is removed and the cache begins anew.
    """
    record = folder / IDENTITY
    if record.is_file():
        try:
            before = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        stale = [name.replace("_", " ") for name, value in asdict(identity).items() if before.get(name) != value]
        if stale and not force:
            raise ConfigError(
                "reference_cache_stale",
                f"The reference cache {folder} is stale, it was computed with other {' and '.join(stale)}: its errors "
                "are not those of this run's reference. Remove that folder, name another with --cache, or force it to "
                "be computed anew.",
            )
        if stale:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(record, json.dumps(asdict(identity), indent=1).encode())


def batches_of_rows(data: TrainingData, rows: Iterable[tuple[str, Row]], size: int) -> Iterator[list[Row]]:
    """Rows with their keys, each key once, in batches of at most `size` rows of one image size, in a fixed order."""
    buckets: dict[tuple[int, int], dict[str, Row]] = defaultdict(dict)
    for key, row in rows:
        buckets[data.size(row.condition_id)].setdefault(key, row)
    for bucket in buckets.values():
        waiting = list(bucket.values())
        for start in range(0, len(waiting), size):
            yield waiting[start : start + size]
