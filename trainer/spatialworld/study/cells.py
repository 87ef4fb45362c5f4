"""What finished cells left, as statistics take it: rows by training seed, and which columns belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.spatialworld.study.arms import BASE
from trainer.spatialworld.study.pairs import PairRule, choose_pairs
from trainer.spatialworld.study.scale import Study
from trainer.spatialworld.study.tasks import CELL, candidates

Cells = dict[int, dict[str, Any]]
OF_PAIRS = ("d_win", "d_lose", "accuracy")
"""Measures by held-out pair; all others are by condition."""


def cells(study: Study, group: str, arm: str) -> Cells:
    """What the finished cells of an arm left, by seed; ones that diverged are told apart by ``failed``."""
    found: Cells = {}
    for path in sorted((study.root / "cells" / group / arm).glob(f"seed-*/{CELL}")):
        record = json.loads(path.read_text())
        if "failed" not in record:
            with np.load(path.parent / "measures.npz") as arrays:
                record["measures"] = {name: arrays[name] for name in arrays.files}
        found[int(record["seed"])] = record
    return found


def measured(found: Cells) -> dict[int, dict[str, np.ndarray]]:
    """The measures by seed, without the seeds that diverged."""
    return {seed: record["measures"] for seed, record in found.items() if "measures" in record}


def values(found: Cells, measure: str) -> np.ndarray:
    """Float [S, C]: a measure by seed and condition (or pair, for those OF_PAIRS), averaged over the draws."""
    rows = [_row(measures[measure]) for measures in measured(found).values()]
    return np.stack(rows) if rows else np.zeros((0, 0))


def _row(found: np.ndarray) -> np.ndarray:
    if found.ndim == 1:
        return found
    known = np.isfinite(found)
    total = np.where(known, found, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def share_a_seed(one: Cells, other: Cells) -> bool:
    """Whether two arms can be compared; the base, which has no training seed, with all that finished."""
    return bool(_base_in(one, other) or measured(one).keys() & measured(other).keys())


def paired(one: Cells, other: Cells, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Float [S, C] of both over the training seeds that both have; the base is one row for all seeds."""
    if not _base_in(one, other):
        shared = sorted(measured(one).keys() & measured(other).keys())
        one, other = ({seed: found[seed] for seed in shared} for found in (one, other))
    return values(one, measure), values(other, measure)


def _base_in(*arms: Cells) -> bool:
    return any(record["arm"] == BASE for found in arms for record in found.values())


def clusters_by_measure(study: Study) -> Mapping[str, Sequence[str]]:
    """For measures OF_PAIRS the condition of each held-out pair: a condition gives several."""
    chosen = choose_pairs(candidates(study, "test"), PairRule(study.scale.test_pairs))
    conditions = [str(pair.condition) for pair in chosen]
    return dict.fromkeys(OF_PAIRS, conditions)
