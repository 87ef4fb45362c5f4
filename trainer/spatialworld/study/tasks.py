"""The parts of a study. Each is one file or folder that is published by rename: it is there whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainer.contract.checkpoint import RunResult
from trainer.contract.config import RunConfig
from trainer.contract.errors import ConfigError, DivergedError
from trainer.contract.files import write_durably
from trainer.spatialworld.study import pool
from trainer.spatialworld.study.arms import config_of
from trainer.spatialworld.study.conditions import Role, conditions_for
from trainer.spatialworld.study.pairs import PairRule, choose_pairs, freeze
from trainer.spatialworld.study.scale import Study

if TYPE_CHECKING:
    from trainer.spatialworld.study.measures import HeldOut

Overrides = Mapping[str, Any]
MAIN = "main"
"""The snapshot that all arms train on."""
ARMS_GROUP, TRIALS_GROUP, DATA_GROUP, TERMS_GROUP = "arms", "trials", "data", "terms"


class Interrupted(KeyboardInterrupt):
    """Somebody asked a training to stop; it published a checkpoint."""


class Task(Protocol):
    """A part of a study: what it is called, whether it is there, what it costs (in UNIT), and how it is made."""

    @property
    def name(self) -> str: ...

    def done(self, study: Study) -> bool: ...

    def cost(self, study: Study) -> float: ...

    def run(self, study: Study) -> str:
        """Make it, and say what came out in a few words."""
        ...


def _draws(study: Study, role: Role) -> tuple[int, int]:
    """Conditions of a role, and images of the base for each."""
    scale = study.scale
    return {
        "train": (scale.conditions, scale.pool_draws),
        "tuning": (scale.trial_conditions, 1),
        "test": (scale.test_conditions, max(scale.draws, 4)),
    }[role]


@dataclass(frozen=True)
class PoolTask:
    """Images of the base for some conditions, judged."""

    role: Role
    chunk: int

    @property
    def name(self) -> str:
        return f"candidates {self.role} {self.chunk}"

    def done(self, study: Study) -> bool:
        return study.pool(self.role, self.chunk).exists()

    def _slice(self, study: Study) -> slice:
        start = self.chunk * study.scale.chunk
        return slice(start, min(start + study.scale.chunk, _draws(study, self.role)[0]))

    def cost(self, study: Study) -> float:
        part = self._slice(study)
        return (part.stop - part.start) * _draws(study, self.role)[1] * study.scale.sampling_steps

    def run(self, study: Study) -> str:
        from trainer.spatialworld.study.models import base_model

        total, draws = _draws(study, self.role)
        found = pool.draw(
            base_model(study.base), self.role, self._slice(study), draws, study.scale.sampling_steps, total
        )
        found.save(study.pool(self.role, self.chunk))
        return f"{(found.rational == 1).mean():.1%} rational"


def pool_tasks(study: Study, role: Role) -> list[PoolTask]:
    """All chunks of a role."""
    return [PoolTask(role, chunk) for chunk in range(-(-_draws(study, role)[0] // study.scale.chunk))]


def candidates(study: Study, role: Role) -> pool.Candidates:
    """The base's images of a role, when all chunks are there."""
    return pool.load([study.pool(role, task.chunk) for task in pool_tasks(study, role)])


@dataclass(frozen=True)
class SnapshotTask:
    """Pairs by a rule, frozen."""

    snapshot: str
    rule: PairRule

    @property
    def name(self) -> str:
        return f"pairs {self.snapshot}"

    def done(self, study: Study) -> bool:
        return study.snapshot(self.snapshot).exists()

    def cost(self, study: Study) -> float:
        return float(self.rule.count)

    def run(self, study: Study) -> str:
        found = candidates(study, "train")
        count = freeze(study.snapshot(self.snapshot), self.rule, conditions_for("train", len(found)), found)
        return f"{count} pairs"


@dataclass(frozen=True)
class CellTask:
    """Train an arm at a seed on a snapshot, and measure it on the conditions of a role."""

    group: str
    arm: str
    seed: int
    steps: int
    overrides: tuple[Overrides, ...] = field(default=(), hash=False)
    snapshot: str = MAIN
    role: Role = "test"

    @property
    def name(self) -> str:
        return f"{self.group} {self.arm} seed {self.seed}"

    def folder(self, study: Study) -> Path:
        return study.cell(self.group, self.arm, self.seed)

    def done(self, study: Study) -> bool:
        return (self.folder(study) / CELL).exists()

    def cost(self, study: Study) -> float:
        config = config_of(study, self.steps, self.seed, *self.overrides)
        return self.steps * step_cost(config) + self._images(study) * study.scale.sampling_steps

    def _images(self, study: Study) -> int:
        scale = study.scale
        return scale.test_conditions * scale.draws if self.role == "test" else scale.trial_conditions

    def run(self, study: Study) -> str:
        from trainer.spatialworld.study.models import tuned_model

        folder = self.folder(study)
        config = config_of(study, self.steps, self.seed, *self.overrides)
        try:
            result = self._train(study, config, folder / "run")
        except DivergedError as error:
            record = {"arm": self.arm, "seed": self.seed, "failed": error.message, "overrides": _merged(self.overrides)}
            write_durably(folder / CELL, json.dumps(record, indent=1).encode())
            return f"diverged: {error.message}"
        if result.state != "finished":
            raise Interrupted(self.name)
        backbone = tuned_model(study.base, folder / "run", result)
        measures = self._measure(study, backbone, folder)
        record = {
            "arm": self.arm, "seed": self.seed, "steps": self.steps, "snapshot": self.snapshot,
            "overrides": _merged(self.overrides), "config_hash": config.config_hash(),
            "step_cost": step_cost(config), "rational": float(np.mean(measures["rational"])),
            **last_figures(folder / "run" / "events.jsonl"),
        }  # fmt: skip
        write_durably(folder / CELL, json.dumps(record, indent=1).encode())
        for bulky in ("checkpoints", *([result.model] if result.model else [])):
            shutil.rmtree(folder / "run" / bulky, ignore_errors=True)
        return f"{record['rational']:.1%} rational"

    def _train(self, study: Study, config: RunConfig, run: Path) -> RunResult:
        """Train or go on; a half-finished run of another config, from before an update of this code, starts over."""
        from trainer.engine import train

        snapshot, cache = study.snapshot(self.snapshot), study.root / "cache" / self.snapshot
        try:
            return train(snapshot, config, run, resume=True, cache=cache)
        except ConfigError as error:
            if error.code not in ANOTHER_CONFIG:
                raise
            shutil.rmtree(run)
            return train(snapshot, config, run, resume=True, cache=cache)

    def _measure(self, study: Study, backbone: Any, folder: Path) -> dict[str, np.ndarray]:
        from trainer.spatialworld.study import measures

        scale, total = study.scale, _draws(study, self.role)[0]
        draws = scale.draws if self.role == "test" else 1
        found = pool.draw(backbone, self.role, slice(0, total), draws, scale.sampling_steps, total)
        conditions = conditions_for(self.role, total)
        values = measures.measure_images(found, conditions)
        if self.role == "test":
            values |= measures.measure_pairs(backbone, _held_out(study))
            keep_images(folder, found)
        keep_measures(folder, values)
        return values


@lru_cache(maxsize=1)
def _held_out(study: Study) -> list[HeldOut]:
    """The pairs of the test conditions, encoded once a worker."""
    from trainer.spatialworld.study.measures import held_out
    from trainer.spatialworld.study.models import base_model

    base = candidates(study, "test")
    pairs = choose_pairs(base, PairRule(study.scale.test_pairs))
    return held_out(base_model(study.base), base, conditions_for("test", len(base)), pairs)


ANOTHER_CONFIG = ("config_changed", "config_invalid", "config_unreadable")
"""What a run begun with another config is refused for; the config given now is valid."""
CELL = "cell.json"
SHOWN = 12
"""Test conditions whose images are kept for the report's grids."""


def keep_measures(folder: Path, values: Mapping[str, np.ndarray]) -> None:
    """Write ``measures.npz``; what vouches for it is written after it."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "measures.npz", **dict(values))


def keep_images(folder: Path, found: pool.Candidates) -> None:
    """Write the first images as the report's grids need them."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "images.npz", raw=found.raw[:SHOWN, 0], rational=found.rational[:SHOWN, 0])


def _merged(overrides: tuple[Overrides, ...]) -> dict[str, Any]:
    return {key: value for each in overrides for key, value in each.items()}


def step_cost(config: RunConfig) -> float:
    """What a training step costs, in UNIT: three forwards' work for a row of the policy, one for the reference's."""
    from trainer.data.rows import slots_of

    training, objective = config.training, config.objective
    slots = slots_of(training.pairs_per_step, training.micro_batch, objective)
    preferring = sum(2 * len(s.pairs) + 2 * len(s.capo) + len(s.scpo) for s in slots)
    return float(3 * (preferring + sum(len(s.replay) for s in slots)) + preferring)


def last_figures(events: Path) -> dict[str, Any]:
    """D_w, D_l and their like as training saw them over its last log window, and the seconds a step took."""
    from trainer.contract.events import Metrics, read_events

    found = [event.values for event in read_events(events)[0] if isinstance(event, Metrics)]
    if not found:
        return {}
    seconds = float(np.median([values["seconds_per_step"] for values in found]))
    kept = ("d_win", "d_lose", "margin", "accuracy", "loss_replay", "grad_norm")
    return {"seconds_per_step": round(seconds, 4), "training": {k: found[-1][k] for k in kept if k in found[-1]}}


@dataclass(frozen=True)
class BaseTask:
    """Measure the base on the test conditions: its images are the pool's, at the arms' own seeds.

    Diversities are of all its images of a condition: two of the base's are seldom rational together.
    """

    name: str = "base"

    def folder(self, study: Study) -> Path:
        return study.cell(ARMS_GROUP, "base", 0)

    def done(self, study: Study) -> bool:
        return (self.folder(study) / CELL).exists()

    def cost(self, study: Study) -> float:
        return 0.0

    def run(self, study: Study) -> str:
        from trainer.spatialworld.study.measures import DIVERSITIES, measure_images

        every, conditions = candidates(study, "test"), conditions_for("test", study.scale.test_conditions)
        found = pool.Candidates(**{name: getattr(every, name)[:, : study.scale.draws] for name in pool.FIELDS})
        of_all = measure_images(every, conditions)
        values = measure_images(found, conditions) | {name: of_all[name] for name in DIVERSITIES}
        pairs = len(choose_pairs(every, PairRule(study.scale.test_pairs)))
        nothing = np.zeros(pairs, np.float32)
        keep_measures(self.folder(study), values | {"d_win": nothing, "d_lose": nothing})
        keep_images(self.folder(study), found)
        share = float(values["rational"].mean())
        write_durably(self.folder(study) / CELL, json.dumps({"arm": "base", "seed": 0, "rational": share}).encode())
        return f"{share:.1%} rational"


@dataclass(frozen=True)
class PretrainTask:
    """Pre-train a larger base than the shipped one."""

    name: str = "the larger base"

    def done(self, study: Study) -> bool:
        return (study.pretraining / "finished").exists()

    def cost(self, study: Study) -> float:
        return 3.0 * 64 * study.scale.pretrain_steps

    def run(self, study: Study) -> str:
        from trainer.spatialworld.model import LARGE
        from trainer.spatialworld.recipe import pretrain_all

        pretrain_all(study.pretraining, study.scale.pretrain_steps, 1800, 0, 32_000, resume=True, sizes=LARGE)
        (study.pretraining / "finished").touch()
        return f"{study.scale.pretrain_steps} steps"


@dataclass(frozen=True)
class JudgeTask:
    """Hold the judge against the geometry that fresh scenes, clean and broken, were drawn with."""

    name: str = "the judge against the drawing geometry"

    def done(self, study: Study) -> bool:
        return (study.root / JUDGE).exists()

    def cost(self, study: Study) -> float:
        return float(study.scale.judged_scenes)

    def run(self, study: Study) -> str:
        from trainer.spatialworld.study.judge_check import check_judge, drawn_coherence, drawn_diversity
        from trainer.spatialworld.study.models import base_model

        count = study.scale.test_conditions
        found = check_judge(study.scale.judged_scenes) | {
            "diversity": drawn_diversity(count),
            "coherence": drawn_coherence(count, base_model(study.base)),
        }
        write_durably(study.root / JUDGE, json.dumps(found, indent=1).encode())
        return f"{found['agreement']:.2%} of {found['scenes']} scenes"


JUDGE = "judge.json"
