"""From the cells' files to results.json: estimates by arm and measure, comparisons, data questions, costs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.spatialworld.study.arms import BASE, arms_of, trials_of
from trainer.spatialworld.study.cells import Cells, cells, clusters_by_measure, measured, paired, share_a_seed, values
from trainer.spatialworld.study.conditions import conditions_for
from trainer.spatialworld.study.conflict import CONFLICT
from trainer.spatialworld.study.expectations import expectations
from trainer.spatialworld.study.measures import DIVERSITIES, TITLES
from trainer.spatialworld.study.plan import (
    DATA_ARM,
    TERMS,
    all_tasks,
    chosen_settings,
    data_variants,
    overrides_of,
    steps_of,
    terms_cell,
    trial_score,
)
from trainer.spatialworld.study.scale import UNIT, Study, spent_seconds
from trainer.spatialworld.study.statistics import difference, estimate, kept, ratings
from trainer.spatialworld.study.tasks import ARMS_GROUP, DATA_GROUP, JUDGE, MAIN, TERMS_GROUP

ANNOTATOR_ERROR = 0.1
"""Share of votes that the simulated annotators of the ratings turn round."""
COMPARED = (
    ("sft", BASE), ("dpo", BASE), ("mask_dpo", BASE), ("full", BASE), ("mask_dpo", "dpo"), ("mask_dpo", "sft"),
    ("mask_dpo_capo", "mask_dpo"), ("mask_dpo_scpo", "mask_dpo"), ("full", "mask_dpo"), ("full", "dpo"),
    ("full", "sft"), ("full", "sft_same_compute"), ("mask_dpo", "mask_dpo_no_replay"), ("mask_dpo", "mask_dpo_all_t"),
    ("mask_dpo", "mask_dpo_whole_replay"), ("mask_dpo", "mask_dpo_longer_replay"),
    ("mask_dpo_plain", BASE), ("mask_dpo_plain", "dpo_plain"), ("full_plain", "mask_dpo_plain"),
    ("mask_dpo", "mask_dpo_no_foreground"), ("mask_dpo_no_foreground", "dpo"), ("mask_dpo_capo", "capo_win_full"),
    ("mask_dpo_capo", "capo_condition_only"), ("mask_dpo_scpo", "scpo_cross_scene"), ("mask_dpo_scpo", "scpo_pull_up"),
    ("mask_dpo_early", "sft_early"), ("mask_dpo_early", "dpo_early"), ("full_early", "mask_dpo_early"),
    ("full_early", "dpo_early"), ("full_early", "mask_dpo_early_same_compute"),
)  # fmt: skip
"""Differences shown: the first minus the second, paired."""
COMPARED_MEASURES = (
    "rational", "rational_large", "foreground_error", "coherence", "diversity", "rational_diversity", "d_win",
)  # fmt: skip
COMPARED_TERMS = (("mask_dpo", "sft"), ("mask_dpo", "dpo"), ("full", "mask_dpo"), ("full", "dpo"), ("full", "sft"))
"""Differences shown where pairs are few or wrong."""
KEPT = "rational_diversity"
"""What the data questions ask to be kept: all of it falls as hallucinations do."""


def collect(study: Study, command: str) -> dict[str, Any]:
    """Everything the report says, as plain JSON; whatever is not there yet is left out."""
    names = [BASE, *(arm.name for arm in arms_of(study))]
    found = {name: cells(study, ARMS_GROUP, name) for name in names}
    found = {name: some for name, some in found.items() if measured(some)}
    clusters = clusters_by_measure(study) if found else {}
    result: dict[str, Any] = {
        "scale": study.scale.name,
        "base": study.base,
        "seeds": len(study.scale.seeds),
        "pairs": _pairs_in(study.snapshot(MAIN)),
        "complete": all(task.done(study) for task in all_tasks(study)),
        **_circumstances(study, command),
        "judge": _read(study.root / JUDGE),
        "conflict": _read(study.root / CONFLICT),
        "arms": {name: _estimates(some, clusters) for name, some in found.items()},
    }
    if BASE in found:
        for name, rating in _ratings(found).items():
            result["arms"][name]["elo"] = rating
    result["differences"] = _differences(found, COMPARED, clusters)
    result["by_subject"] = _by_subject(study, found)
    result["kept"] = _kept(found)
    result["terms"] = _terms(study, clusters)
    result["expected"] = expectations(result)
    result["compute"] = _compute(found)
    result["tuning"] = _tuning(study)
    result["data"] = _data(study, found.get(BASE))
    return result


Clusters = Mapping[str, Sequence[str]]


def _estimates(found: Cells, clusters: Clusters) -> dict[str, Any]:
    known = next(iter(measured(found).values()))
    return {
        name: estimate(values(found, name), clusters=clusters.get(name)).to_json() for name in TITLES if name in known
    }


def _differences(
    found: Mapping[str, Cells], compared: Sequence[tuple[str, str]], clusters: Clusters
) -> dict[str, dict[str, Any]]:
    """By pair of arms and measure, where the two share a training seed."""
    return {
        f"{one} - {other}": {
            measure: difference(*paired(found[one], found[other], measure), clusters=clusters.get(measure)).to_json()
            for measure in COMPARED_MEASURES
        }
        for one, other in compared
        if one in found and other in found and share_a_seed(found[one], found[other])
    }


def _by_subject(study: Study, found: Mapping[str, Cells]) -> dict[str, Any]:
    """``rational`` of every arm and difference with intervals over whole subjects instead of conditions."""
    subjects = [each.subject.identity for each in conditions_for("test", study.scale.test_conditions)]
    return {
        "subjects": len(set(subjects)),
        "arms": {name: estimate(values(some, "rational"), clusters=subjects).to_json() for name, some in found.items()},
        "differences": {
            pair: some["rational"] for pair, some in _differences(found, COMPARED, {"rational": subjects}).items()
        },
    }


def _kept(found: Mapping[str, Cells]) -> dict[str, Any]:
    """Every arm's diversity by the base's, over the conditions on which both have one."""
    if BASE not in found:
        return {}
    return {
        name: {
            measure: kept(values(some, measure), values(found[BASE], measure)).to_json() for measure in DIVERSITIES
        }
        for name, some in found.items()
        if name != BASE
    }  # fmt: skip


def _terms(study: Study, clusters: Clusters) -> dict[str, Any]:
    """The objectives where pairs are few or wrong: estimates and differences, by the snapshot's name."""
    made: dict[str, Any] = {}
    for name in study.scale.data_terms:
        cells_of = {DATA_ARM: cells(study, DATA_GROUP, name)}
        cells_of |= {arm: cells(study, TERMS_GROUP, terms_cell(arm, name)) for arm in TERMS}
        some = {arm: found for arm, found in cells_of.items() if measured(found)}
        made[name] = {
            "arms": {arm: _estimates(found, clusters) for arm, found in some.items()},
            "differences": _differences(some, COMPARED_TERMS, clusters),
        }
    return made


def _ratings(found: Mapping[str, Cells]) -> dict[str, Any]:
    verdicts = {
        name: np.stack([measures["rational"] for measures in measured(some).values()]) for name, some in found.items()
    }
    return {name: rating.to_json() for name, rating in ratings(verdicts, BASE, ANNOTATOR_ERROR).items()}


def _compute(found: Mapping[str, Cells]) -> dict[str, Any]:
    """Steps, cost in UNIT and seconds by arm, over its seeds."""
    made: dict[str, Any] = {"unit": UNIT, "arms": {}}
    for name, some in found.items():
        records = [record for record in some.values() if "step_cost" in record]
        if records:
            seconds = float(np.mean([record["seconds_per_step"] for record in records]))
            made["arms"][name] = {
                "steps": records[0]["steps"],
                "step_cost": records[0]["step_cost"],
                "cost": records[0]["steps"] * records[0]["step_cost"],
                "train_seconds": round(records[0]["steps"] * seconds, 1),
                "seconds_per_step": round(seconds, 4),
            }
    return made


def _tuning(study: Study) -> dict[str, Any]:
    settings = chosen_settings(study)
    trials = {
        arm.name: [
            {"settings": dict(trial), "rational": trial_score(study, arm.name, number)}
            for number, trial in enumerate(trials_of(arm, study.scale.trials))
        ]
        for arm in arms_of(study)
        if not arm.like
    }
    used = {
        arm.name: {
            "steps": steps_of(study, arm, settings),
            **{key: value for each in overrides_of(arm, settings) for key, value in each.items()},
        }
        for arm in arms_of(study)
    }
    return {"trial_steps": study.scale.trial_steps, "trials": trials, "used": used}


def _data(study: Study, base: Cells | None) -> dict[str, Any]:
    """By question and answer: the pairs, estimates, and what is kept of diversity among rational images."""
    made: dict[str, Any] = defaultdict(dict)
    for name in data_variants(study):
        found = cells(study, DATA_GROUP, name)
        if not measured(found):
            continue
        question, _, value = name.partition("-")
        pairs = _pairs_in(study.snapshot(next(iter(found.values()))["snapshot"]))
        answer = str(pairs) if question == "pairs" else value
        made[question][answer] = {
            "pairs": pairs,
            **{measure: estimate(values(found, measure)).to_json() for measure in ("rational", "diversity")},
        }
        if base:
            made[question][answer]["kept"] = kept(values(found, KEPT), values(base, KEPT)).to_json()
    return dict(made)


def _pairs_in(snapshot: Path) -> int:
    manifest = _read(snapshot / "manifest.json") or {}
    return int(manifest.get("counts", {}).get("train_pairs", 0))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _circumstances(study: Study, command: str) -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "hardware": {"device": device, "cores": os.cpu_count(), "workers": study.workers, "system": platform.system()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": round(spent_seconds(study.root)),
        "command": command,
        "commit": _commit(),
        "sizes": {
            key: value
            for key, value in json.loads((study.root / "study.json").read_text())["scale"].items()
            if key not in ("name", "chunk")
        },
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit this code stands at, with a plus where files differ from it; empty outside a repository."""
    here = Path(__file__).parent
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=20, check=True).stdout
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.strip() + ("+" if changed.strip() else "")
