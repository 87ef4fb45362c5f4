"""How large a study is: every number that decides its time, in one place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from trainer.contract.files import write_durably

UNIT = "forwards of one image"
"""What costs are counted in: a training row costs three, a reference row one, an image one a sampling step."""


@dataclass(frozen=True)
class Scale:
    """Sizes of a study.

    ``trials`` settings are tried for each tuned arm, each for ``trial_steps`` steps, measured on ``trial_conditions``
    conditions of subjects that neither training nor the final measures see. ``draws`` images a condition are measured,
    ``pool_draws`` candidates a condition are made for pairs.
    """

    name: str
    conditions: int
    pool_draws: int
    pairs: int
    test_conditions: int
    draws: int
    test_pairs: int
    trial_conditions: int
    trials: int
    trial_steps: int
    steps: int
    pairs_per_step: int
    replay_per_step: int
    rank: int
    sampling_steps: int
    seeds: tuple[int, ...]
    groups: tuple[str, ...]
    """Groups of arms beside the main ones."""
    data_seeds: tuple[int, ...]
    """Seeds of the data questions."""
    data_pairs: tuple[int, ...] = ()
    data_errors: tuple[float, ...] = ()
    data_choices: tuple[str, ...] = ()
    data_labels: tuple[str, ...] = ()
    data_terms: tuple[str, ...] = ()
    """Snapshots of data questions that other objectives are trained on too."""
    judged_scenes: int = 2000
    chunk: int = 32
    """Conditions of a pool's file."""
    pretrain_steps: int = 0
    """Steps for which a larger base is pre-trained first, where none is given; 0 takes the shipped weights."""


SMOKE = Scale(
    name="smoke", conditions=12, pool_draws=4, pairs=24, test_conditions=6, draws=2, test_pairs=8, trial_conditions=4,
    trials=1, trial_steps=2, steps=3, pairs_per_step=4, replay_per_step=4, rank=4, sampling_steps=4, seeds=(0,),
    groups=(), data_seeds=(0,), judged_scenes=60, chunk=12,
)  # fmt: skip
CPU = Scale(
    name="cpu", conditions=480, pool_draws=8, pairs=2000, test_conditions=160, draws=2, test_pairs=128,
    trial_conditions=192, trials=4, trial_steps=40, steps=120, pairs_per_step=8, replay_per_step=16, rank=32,
    sampling_steps=8, seeds=(0, 1, 2), groups=("readings", "windows", "compute", "early", "options"),
    data_seeds=(0, 1, 2), data_pairs=(50, 200, 800, 5000), data_errors=(0.1, 0.2, 0.4),
    data_choices=("all", "scale"), data_labels=("hard", "soft", "sure"), data_terms=("error-20",),
)  # fmt: skip
GPU = Scale(
    name="gpu", conditions=2000, pool_draws=8, pairs=5000, test_conditions=500, draws=2, test_pairs=500,
    trial_conditions=250, trials=8, trial_steps=600, steps=2000, pairs_per_step=32, replay_per_step=64, rank=64,
    sampling_steps=16, seeds=(0, 1, 2, 3, 4), groups=("readings", "windows", "compute", "early", "options"),
    data_seeds=(0, 1, 2), data_pairs=(50, 200, 800, 2000, 5000), data_errors=(0.1, 0.2, 0.3, 0.4),
    data_choices=("all", "scale", "position", "viewpoint"), data_labels=("hard", "soft", "sure"),
    data_terms=("pairs-50", "error-20"), chunk=64, pretrain_steps=20_000,
)  # fmt: skip
SCALES = {scale.name: scale for scale in (SMOKE, CPU, GPU)}


@dataclass(frozen=True)
class Study:
    """Where a study lies, how large it is, and the pipeline's folder it tunes instead of the scale's own base."""

    root: Path
    scale: Scale
    given_base: str | None = None
    threads: int = 1
    """CPU threads of a worker."""
    workers: int = field(default=1, compare=False)

    @property
    def base(self) -> str:
        """The name or folder of the pipeline that is tuned."""
        if self.given_base is None and self.scale.pretrain_steps:
            return str((self.pretraining / "pipeline").resolve())
        return self.given_base or "spatialworld"

    @property
    def pretraining(self) -> Path:
        """Where this study's own base is made."""
        return self.root / "base"

    def pool(self, role: str, chunk: int) -> Path:
        """Candidates of the conditions of one chunk."""
        return self.root / "pool" / f"{role}-{chunk:03d}.npz"

    def snapshot(self, name: str) -> Path:
        """A frozen dataset of pairs."""
        return self.root / "snapshots" / name

    def cell(self, group: str, arm: str, seed: int) -> Path:
        """Everything of an arm at a seed."""
        return self.root / "cells" / group / arm / f"seed-{seed}"


def spent_seconds(root: Path) -> float:
    """Seconds that went into a study's finished parts, over all its sittings."""
    path = root / "clock.json"
    return float(json.loads(path.read_text())["seconds"]) if path.exists() else 0.0


def spend_seconds(root: Path, seconds: float) -> None:
    """Add to them."""
    write_durably(root / "clock.json", json.dumps({"seconds": spent_seconds(root) + seconds}).encode())
