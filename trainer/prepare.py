"""Before the first step: what the encoders and the reference make of a snapshot, kept in a cache folder.

::

    <cache>/encoders.json                          which text encoders and autoencoder a base has, by what they are
    <cache>/encoded/<hash>.safetensors             latents, conditioning, regions and texts, by content
    <cache>/reference-<name>/reference.json        which weights, compute type and noise the maps belong to
    <cache>/reference-<name>/<hash>.safetensors    error maps of the reference
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.backbones.load import compute_type, load_backbone
from trainer.contract.snapshot import verify_snapshot
from trainer.data.encoders import remembered_prints
from trainer.data.shards import ShardStore, content_key
from trainer.fingerprint import fingerprint
from trainer.parallel import ALONE, Processes
from trainer.reference import (
    GUIDANCE,
    CachedReference,
    ModelReference,
    Reference,
    UntrainedReference,
    claim_reference_folder,
    identity_of,
)
from trainer.schedule import Schedule
from trainer.sharding import shard

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone
    from trainer.contract.config import RunConfig
    from trainer.contract.snapshot import Snapshot
    from trainer.data.source import Progress


ENCODED = "encoded"


def fill_cache(
    snapshot_folder: Path,
    config: RunConfig,
    cache: Path,
    counting: Callable[[str], Progress] | None = None,
    *,
    force: bool = False,
) -> dict[str, int]:
    """Fill a cache folder for runs of this config on this snapshot; returns how many things are in it.

    `counting` gives a report for the work of a name: `encode`, `reference`. Raises TrainerError for a snapshot,
    model or cache that cannot be used.
    """
    model = config.model
    backbone = load_backbone(model.base, revision=model.revision, dtype=model.dtype, encoders=False)
    schedule = prepare(config, verify_snapshot(snapshot_folder), backbone, cache, counting and counting("encode"))
    found = {"encoded": len(ShardStore(cache / ENCODED))}
    if config.reference.source == "cache":
        backbone.drop_text_encoders()
        add_policy(config, backbone)
        prepare_reference(config, backbone, schedule, cache, counting and counting("reference"), force=force)
        found["reference rows"] = sum(len(rows) for rows in schedule.referenced())
    return found


def add_policy(config: RunConfig, backbone: Backbone, processes: Processes = ALONE) -> None:
    """Put on the model what is trained; all weights are sharded over several processes."""
    lora = config.lora
    if config.training.method == "full":
        backbone.train_fully(copy_reference=config.reference.source == "model")
        if processes.count > 1:
            shard(backbone, processes.count)
    elif config.model.adapter:
        backbone.continue_adapter(Path(config.model.adapter))
    else:
        backbone.add_adapter(lora.rank, lora.alpha or lora.rank, lora.targets, config.training.seed)


def prepare(
    config: RunConfig,
    snapshot: Snapshot,
    backbone: Backbone,
    cache: Path,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Schedule:
    """The schedule of a run, with everything it needs encoded; goes on where an earlier build was cut short.

    The backbone's encoders are loaded where something is missing, or where it is not remembered which they are.
    """
    store = ShardStore(cache / ENCODED)
    prints = processes.once(lambda: remembered_prints(backbone, cache))
    schedule = Schedule(config, snapshot, backbone, store, prints, processes.count)
    schedule.data.encode(schedule.crops(), progress, processes)
    backbone.no_text = schedule.data.nothing()
    return schedule


def prepare_reference(
    config: RunConfig,
    backbone: Backbone,
    schedule: Schedule,
    cache: Path,
    progress: Progress | None = None,
    processes: Processes = ALONE,
    *,
    force: bool = False,
) -> Reference:
    """The reference of a run; as a cache it is complete when this returns.

    Raises ConfigError for a cache of another reference, unless `force`.
    """
    if config.reference.source == "model":
        return ModelReference(backbone, GUIDANCE)
    full = config.training.method == "full"
    model = UntrainedReference(backbone, GUIDANCE) if full else ModelReference(backbone, GUIDANCE)
    name = content_key(config.model.base, config.model.revision, config.model.adapter, config.training.method)[:12]
    weights = fingerprint(backbone.predictors(), without=() if full else backbone.trainable())
    identity = identity_of(weights, compute_type(config.model.dtype, backbone.device), GUIDANCE)
    folder = cache / f"reference-{name}"
    processes.once(lambda: claim_reference_folder(folder, identity, force=force))
    reference = CachedReference(ShardStore(folder), schedule.builder)
    reference.fill(model, schedule.referenced(), progress, processes, together=full and processes.count > 1)
    return reference
