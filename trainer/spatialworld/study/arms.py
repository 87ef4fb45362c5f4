"""The arms of the study: each is the common config with a few keys replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.contract.config import (
    CheckpointsConfig,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    SamplesConfig,
    TrainingConfig,
    ValidationConfig,
    apply_overrides,
)
from trainer.contract.objective import CapoConfig, ObjectiveConfig, ReplayConfig, ScpoConfig
from trainer.spatialworld.study.scale import Study

Overrides = Mapping[str, Any]

CAPO = {"objective.capo.weight": 0.25, "objective.capo.share": 0.5}
SCPO = {"objective.scpo.share": 0.5}
"""The weight is what its trials vary."""
SCPO_WEIGHT = "objective.scpo.weight"
WHOLE = {"objective.t_min": 0.0}
ALONE = {"objective.replay.weight": 0.0}


@dataclass(frozen=True)
class Arm:
    """One way to train. ``like`` names the tuned arm whose chosen settings it takes; its own name if it is tuned."""

    name: str
    title: str
    group: str
    overrides: Overrides = field(default_factory=dict)
    like: str = ""
    same_compute_as: str = ""
    """Train for so many steps that the cost is that arm's."""
    share: float = 1.0
    """Share of the scale's steps, where no compute is to be equal."""

    @property
    def tuned_as(self) -> str:
        """The arm whose tuning this one takes."""
        return self.like or self.name


SFT = {"objective.preference": "none"}
DPO = {"objective.preference": "dpo"}
EARLY = 1 / 3
"""Before the arms meet at what the base knows."""
ARMS: tuple[Arm, ...] = (
    Arm("sft", "SFT on winners", "main", SFT),
    Arm("dpo", "Diffusion-DPO", "main", DPO),
    Arm("mask_dpo", "MaskDPO", "main"),
    Arm("mask_dpo_capo", "MaskDPO + CAPO", "main", CAPO),
    Arm("mask_dpo_scpo", "MaskDPO + SCPO", "main", SCPO),
    Arm("full", "MaskDPO + CAPO + SCPO", "main", {**CAPO, **SCPO}),
    Arm("capo_win_full", "CAPO, winner whole, loser cropped", "readings",
        {**CAPO, "objective.capo.reading": "win_full_lose_crop"}, like="mask_dpo_capo"),
    Arm("capo_condition_only", "CAPO, one image under two conditions", "readings",
        {**CAPO, "objective.capo.reading": "condition_only"}, like="mask_dpo_capo"),
    Arm("scpo_cross_scene", "SCPO, winners of other scenes", "readings",
        {**SCPO, "objective.scpo.pairing": "cross_scene"}, like="mask_dpo_scpo"),
    Arm("scpo_pull_up", "SCPO, only the weaker winner moves", "readings",
        {**SCPO, "objective.scpo.pairing": "pull_up"}, like="mask_dpo_scpo"),
    Arm("mask_dpo_no_foreground", "MaskDPO without its foreground loss", "readings",
        {"objective.mask_dpo.foreground_weight": 0.0}, like="mask_dpo"),
    Arm("mask_dpo_all_t", "MaskDPO at all timesteps, with replay", "windows", WHOLE, like="mask_dpo"),
    Arm("mask_dpo_whole_replay", "MaskDPO, replay with its boundary cells", "windows",
        {"objective.replay.boundary": "include"}, like="mask_dpo"),
    Arm("mask_dpo_longer_replay", "MaskDPO, replay from t = 0.6", "windows",
        {"objective.replay.t_min": 0.6}, like="mask_dpo"),
    Arm("mask_dpo_no_replay", "MaskDPO at high noise, no replay", "windows", ALONE, like="mask_dpo"),
    Arm("mask_dpo_plain", "MaskDPO at all timesteps, no replay", "windows", {**WHOLE, **ALONE}),
    Arm("dpo_plain", "Diffusion-DPO at all timesteps, no replay", "windows", {**DPO, **WHOLE, **ALONE}),
    Arm("full_plain", "all three at all timesteps, no replay", "windows",
        {**CAPO, **SCPO, SCPO_WEIGHT: 0.02, **WHOLE, **ALONE}, like="mask_dpo_plain"),
    Arm("sft_same_compute", "SFT, as long as the full objective takes", "compute", SFT, like="sft",
        same_compute_as="full"),
    Arm("mask_dpo_same_compute", "MaskDPO, as long as the full objective takes", "compute", like="mask_dpo",
        same_compute_as="full"),
    Arm("anchor_sft", "MaskDPO + SFT at the pair's noise", "options",
        {"objective.anchor.sft": 1.0}, like="mask_dpo"),
    Arm("anchor_dpop", "MaskDPO + DPOP", "options", {"objective.anchor.dpop": 1.0}, like="mask_dpo"),
    Arm("lose_gradient", "MaskDPO, half the loser's gradient", "options",
        {"objective.anchor.lose_gradient": 0.5}, like="mask_dpo"),
    Arm("auto_beta", "MaskDPO, beta driven to target 0.4", "options",
        {"objective.auto_beta.target": 0.4}, like="mask_dpo"),
    Arm("tracked_noise", "MaskDPO at the candidates' own noise", "options",
        {"objective.noise": "tracked"}, like="mask_dpo"),
    Arm("reason_weights", "MaskDPO, viewpoint errors weigh double", "options",
        {"objective.reason_weights.viewpoint": 2.0}, like="mask_dpo"),
    Arm("sft_early", "SFT, a third of the steps", "early", SFT, like="sft", share=EARLY),
    Arm("dpo_early", "Diffusion-DPO, a third of the steps", "early", DPO, like="dpo", share=EARLY),
    Arm("mask_dpo_early", "MaskDPO, a third of the steps", "early", like="mask_dpo", share=EARLY),
    Arm("full_early", "all three, a third of the steps", "early", {**CAPO, **SCPO}, like="full", share=EARLY),
    Arm("mask_dpo_early_same_compute", "MaskDPO, as long as all three take for that", "early", like="mask_dpo",
        same_compute_as="full_early"),
)  # fmt: skip

BASE = "base"
RATE = "optimizer.learning_rate"
PREFERENCE_TRIALS: tuple[Overrides, ...] = tuple(
    {"objective.beta": beta, RATE: rate, "objective.t_min": t_min, "objective.replay.t_min": replay_t_min}
    for beta, rate, t_min, replay_t_min in (
        (30.0, 2e-3, 0.8, 0.7), (10.0, 2e-3, 0.8, 0.7), (30.0, 1e-3, 0.8, 0.7), (30.0, 2e-3, 0.7, 0.7),
        (100.0, 2e-3, 0.8, 0.7), (30.0, 4e-3, 0.8, 0.7), (30.0, 2e-3, 0.8, 0.8), (30.0, 2e-3, 0.8, 0.6),
    )
)  # fmt: skip
SCPO_TRIALS: tuple[Overrides, ...] = tuple(
    {**PREFERENCE_TRIALS[number], SCPO_WEIGHT: weight}
    for number, weight in ((0, 0.02), (1, 0.1), (2, 0.02), (3, 0.02), (0, 0.1), (1, 0.02), (0, 0.005), (0, 0.3))
)
SFT_TRIALS: tuple[Overrides, ...] = tuple(
    {RATE: rate, "objective.replay.t_min": t_min}
    for rate, t_min in (
        (4e-3, 0.7), (8e-3, 0.7), (8e-3, 0.6), (4e-3, 0.8), (4e-3, 0.6), (4e-3, 0.4), (2e-3, 0.7), (2e-3, 0.0),
    )
)  # fmt: skip
PLAIN_TRIALS: tuple[Overrides, ...] = tuple(
    {"objective.beta": beta, RATE: rate}
    for beta, rate in (
        (300.0, 1e-3), (100.0, 1e-3), (1000.0, 3e-4), (1000.0, 1e-4),
        (2000.0, 1e-4), (100.0, 3e-4), (300.0, 3e-4), (2000.0, 1e-5),
    )
)  # fmt: skip
"""For arms whose window is what they are. A smaller study tries the first of each list: every tuned arm as many."""


def arms_of(study: Study) -> list[Arm]:
    """The arms that a study of this scale trains, without the base."""
    return [arm for arm in ARMS if arm.group == "main" or arm.group in study.scale.groups]


def trials_of(arm: Arm, count: int) -> list[Overrides]:
    """The settings tried for an arm."""
    trials = PREFERENCE_TRIALS
    if arm.overrides.get("objective.preference") == "none":
        trials = SFT_TRIALS
    elif "objective.t_min" in arm.overrides:
        trials = PLAIN_TRIALS
    elif "objective.scpo.share" in arm.overrides:
        trials = SCPO_TRIALS
    return list(trials[:count])


def common_config(study: Study, steps: int, seed: int) -> RunConfig:
    """What all arms share: MaskDPO at high noise beside a replay of winners, neither CAPO nor SCPO."""
    scale = study.scale
    return RunConfig(
        model=ModelConfig(base=study.base),
        lora=LoraConfig(rank=scale.rank),
        objective=ObjectiveConfig(
            beta=30.0,
            t_min=0.8,
            capo=CapoConfig(weight=0.0),
            scpo=ScpoConfig(weight=0.0),
            replay=ReplayConfig(weight=20.0, per_step=scale.replay_per_step, boundary="exclude"),
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=min(10, steps // 4), schedule="cosine"),
        training=TrainingConfig(
            steps=steps, pairs_per_step=scale.pairs_per_step, seed=seed, log_every=10, threads=study.threads
        ),
        validation=ValidationConfig(every=0, pairs=1),
        samples=SamplesConfig(every=0),
        checkpoints=CheckpointsConfig(every=40, keep=1),
    )


def config_of(study: Study, steps: int, seed: int, *overrides: Overrides) -> RunConfig:
    """The common config with overrides; of two for one key the later holds."""
    config = common_config(study, steps, seed)
    for each in overrides:
        config = apply_overrides(config, each)
    return config
