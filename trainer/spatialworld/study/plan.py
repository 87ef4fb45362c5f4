"""Which tasks a study has, phase by phase, and which settings the trials choose."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from trainer.spatialworld.study.arms import ARMS, Arm, arms_of, config_of, trials_of
from trainer.spatialworld.study.conflict import ConflictTask
from trainer.spatialworld.study.pairs import HIGH_CONTRAST, PairRule
from trainer.spatialworld.study.scale import Study
from trainer.spatialworld.study.tasks import (
    ARMS_GROUP,
    CELL,
    DATA_GROUP,
    MAIN,
    TERMS_GROUP,
    TRIALS_GROUP,
    BaseTask,
    CellTask,
    JudgeTask,
    PretrainTask,
    SnapshotTask,
    Task,
    pool_tasks,
    step_cost,
)

Overrides = Mapping[str, Any]
LABEL_ERROR, LABEL_ANNOTATORS = 0.2, 3
"""Annotators of the questions whether soft labels help (they must disagree for a difference to be possible) and, beside
one annotator of the same error, what several judgments of an image are worth."""
SURE = 0.9
"""How sure the votes must be of both images of a pair where that is the question: at three votes they must agree."""
LABELS: Mapping[str, tuple[str, Overrides]] = {
    "hard": ("labels", {}),
    "soft": ("labels", {"objective.soft_labels": True}),
    "sure": ("labels-sure", {}),
}
"""What can be made of several annotators' votes: the pairs, and how they are trained on."""
DATA_ARM = "mask_dpo"
"""The arm by which the data questions are asked."""
TERMS = ("sft", "dpo", "full")
"""Those beside it that learn from few or wrong pairs: with many right ones all arms meet at what the base knows."""


def base_tasks(study: Study) -> list[Task]:
    """Phase 0: a larger base, where the scale asks for one and none was given."""
    return [PretrainTask()] if study.scale.pretrain_steps and study.given_base is None else []


def candidate_tasks(study: Study) -> list[Task]:
    """Phase 1: the base's images, and the judge's own check."""
    return [JudgeTask(), *pool_tasks(study, "test"), *pool_tasks(study, "train")]


def pair_tasks(study: Study) -> list[Task]:
    """Phase 2: the base's measures and the frozen pairs."""
    rules = {MAIN: usual_rule(study)} | data_rules(study)
    return [BaseTask(), ConflictTask(), *(SnapshotTask(name, rule) for name, rule in rules.items())]


def usual_rule(study: Study) -> PairRule:
    """How pairs are chosen where that is not the question: of high contrast, as the paper's."""
    return PairRule(study.scale.pairs, choose=HIGH_CONTRAST)


def data_rules(study: Study) -> dict[str, PairRule]:
    """The pairs of the data questions, by the snapshot's name."""
    scale, usual = study.scale, usual_rule(study)
    few = max((count for count in scale.data_pairs if count < scale.pairs), default=scale.pairs)
    rules = {f"pairs-{count}": replace(usual, count=count) for count in scale.data_pairs if count != scale.pairs}
    rules |= {f"error-{error:.0%}".rstrip("%"): replace(usual, error=error) for error in scale.data_errors}
    rules |= {f"choice-{choice}": PairRule(few, choose=choice) for choice in scale.data_choices}
    if scale.data_labels:
        several = replace(usual, error=LABEL_ERROR, annotators=LABEL_ANNOTATORS)
        rules |= {"labels": several, "labels-sure": replace(several, sure=SURE)}
    return rules


def data_variants(study: Study) -> dict[str, tuple[str, Overrides]]:
    """The answers to the data questions as ``question-answer``: the pairs of each, and the keys that are its own."""
    variants: dict[str, tuple[str, Overrides]] = {
        name: (name, {}) for name in data_rules(study) if not name.startswith("labels")
    }
    return variants | {f"labels-{label}": LABELS[label] for label in study.scale.data_labels}


def trial_tasks(study: Study) -> list[Task]:
    """Phase 3: every tuned arm tries the same number of settings, on subjects that are in neither other part."""
    scale = study.scale
    return [
        CellTask(TRIALS_GROUP, f"{arm.name}-{number}", 0, scale.trial_steps, (arm.overrides, trial), role="tuning")
        for arm in arms_of(study)
        if not arm.like
        for number, trial in enumerate(trials_of(arm, scale.trials))
    ]


def chosen_settings(study: Study) -> dict[str, Overrides]:
    """By tuned arm, the trial with most rational images (the first of equals); the first trial if none ran."""
    found: dict[str, Overrides] = {}
    for arm in arms_of(study):
        if arm.like:
            continue
        trials = trials_of(arm, study.scale.trials)
        scores = [trial_score(study, arm.name, number) for number in range(len(trials))]
        found[arm.name] = trials[max(range(len(trials)), key=lambda i: (scores[i], -i))]
    return found


def trial_score(study: Study, arm: str, number: int) -> float:
    """Share of rational images of a trial; -1 for one that diverged or did not run."""
    path = study.cell(TRIALS_GROUP, f"{arm}-{number}", 0) / CELL
    return float(json.loads(path.read_text()).get("rational", -1)) if path.exists() else -1.0


def arm_tasks(study: Study, settings: Mapping[str, Overrides]) -> list[Task]:
    """Phase 4: every arm at every seed. A study cut short has the main arms, then whole seeds."""
    arms = arms_of(study)
    main = [arm for arm in arms if arm.group == "main"]
    others = [arm for arm in arms if arm not in main]
    return [
        CellTask(ARMS_GROUP, arm.name, seed, steps_of(study, arm, settings), overrides_of(arm, settings))
        for part in (main, others)
        for seed in study.scale.seeds
        for arm in part
    ]


def overrides_of(arm: Arm, settings: Mapping[str, Overrides]) -> tuple[Overrides, ...]:
    """The chosen settings, then what the arm is: its own keys win."""
    return settings[arm.tuned_as], arm.overrides


def steps_of(study: Study, arm: Arm, settings: Mapping[str, Overrides]) -> int:
    """The scale's steps, or as many as cost what another arm's cost."""
    if not arm.same_compute_as:
        return round(study.scale.steps * arm.share)
    other = next(each for each in ARMS if each.name == arm.same_compute_as)
    own, theirs = (
        step_cost(config_of(study, study.scale.steps, 0, *overrides_of(each, settings))) for each in (arm, other)
    )
    return round(steps_of(study, other, settings) * theirs / own)


def data_tasks(study: Study, settings: Mapping[str, Overrides]) -> list[Task]:
    """Phase 5: the data questions, each by the tuned MaskDPO."""
    arm = next(each for each in ARMS if each.name == DATA_ARM)
    return [
        CellTask(DATA_GROUP, name, seed, study.scale.steps, (*overrides_of(arm, settings), extra), snapshot)
        for seed in study.scale.data_seeds
        for name, (snapshot, extra) in data_variants(study).items()
    ]


def terms_tasks(study: Study, settings: Mapping[str, Overrides]) -> list[Task]:
    """Phase 6: the same objectives where pairs are few or wrong, each at the settings it chose on many right ones."""
    return [
        CellTask(
            TERMS_GROUP, terms_cell(arm.name, name), seed, study.scale.steps, overrides_of(arm, settings), name
        )
        for seed in study.scale.data_seeds
        for name in study.scale.data_terms
        for arm in ARMS
        if arm.name in TERMS
    ]  # fmt: skip


def terms_cell(arm: str, snapshot: str) -> str:
    """What the cells of an arm on the pairs of a data question are called."""
    return f"{arm}-{snapshot}"


def all_tasks(study: Study) -> Iterator[Task]:
    """Every task, with the settings as far as trials have chosen them: for counting."""
    settings = chosen_settings(study)
    for tasks in (base_tasks, candidate_tasks, pair_tasks, trial_tasks):
        yield from tasks(study)
    yield from arm_tasks(study, settings)
    yield from data_tasks(study, settings)
    yield from terms_tasks(study, settings)
