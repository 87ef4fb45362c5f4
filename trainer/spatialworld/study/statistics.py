"""Intervals over conditions and training seeds, and Elo from simulated annotators. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 1000
"""Bootstrap resamples of an interval."""
RATING_DRAWS = 200
"""Bootstrap resamples of the ratings: each fits all arms anew."""
ANCHOR = 1000.0
"""Elo of the base."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; ``n`` counts the values that went into it."""

    mean: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """Plain JSON, rounded to what the digits mean; null for what is not known."""
        figures = {"mean": self.mean, "low": self.low, "high": self.high}
        return {**{name: round(value, 5) if self.n else None for name, value in figures.items()}, "n": self.n}


def estimate(values: np.ndarray, seed: int = 0, clusters: Sequence[str] | None = None) -> Estimate:
    """Mean and percentile interval of values float [S, C] by training seed and condition; NaN = not measured there.

    Conditions are resampled, and training seeds where there is more than one (the two are crossed: every seed meets
    every condition). With three seeds the share of the interval that seeds contribute is itself rough. With
    ``clusters`` (one name a column) what shares a name is resampled together, whole subjects with all their conditions
    for instance: wider, for what the conditions of one subject have in common says nothing of another.
    """
    values = np.atleast_2d(np.asarray(values, dtype=float))
    known = np.isfinite(values)
    if not known.any():
        return Estimate(math.nan, math.nan, math.nan, 0)
    means = _resampled(np.where(known, values, 0.0), known, np.random.default_rng(seed), _clusters(values, clusters))
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return Estimate(float(values[known].mean()), float(low), float(high), int(known.sum()))


def _clusters(values: np.ndarray, clusters: Sequence[str] | None) -> list[np.ndarray]:
    """The columns that are drawn together."""
    if clusters is None:
        return [np.array([column]) for column in range(values.shape[1])]
    names = np.array(clusters)
    return [np.flatnonzero(names == name) for name in np.unique(names)]


def _resampled(
    values: np.ndarray, known: np.ndarray, rng: np.random.Generator, clusters: Sequence[np.ndarray]
) -> np.ndarray:
    seeds = len(values)
    means = np.full(DRAWS, np.nan)
    for draw in range(DRAWS):
        rows, drawn = rng.integers(seeds, size=seeds), rng.integers(len(clusters), size=len(clusters))
        columns = np.concatenate([clusters[index] for index in drawn])
        count = known[np.ix_(rows, columns)].sum()
        if count:
            means[draw] = values[np.ix_(rows, columns)].sum() / count
    return means


def difference(first: np.ndarray, second: np.ndarray, seed: int = 0, clusters: Sequence[str] | None = None) -> Estimate:
    """The first minus the second, float [S, C] each over the same seeds and conditions: paired, so much sharper.

    One of them may have a single row (the base has no training seed). ``clusters`` as in `estimate`.
    """
    first, second = np.broadcast_arrays(np.atleast_2d(first), np.atleast_2d(second))
    return estimate(np.asarray(first, dtype=float) - np.asarray(second, dtype=float), seed, clusters)


def kept(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of the first by mean of the second, float [S, C] each, over the conditions on which both are known.

    Conditions and seeds are resampled together; one of the two may have a single row.
    """
    first, second = np.broadcast_arrays(np.atleast_2d(first).astype(float), np.atleast_2d(second).astype(float))
    known = np.isfinite(first) & np.isfinite(second)
    if not known.any():
        return Estimate(math.nan, math.nan, math.nan, 0)
    clusters = _clusters(first, None)
    above, below = (
        _resampled(np.where(known, values, 0.0), known, np.random.default_rng(seed), clusters)
        for values in (first, second)
    )
    low, high = np.nanpercentile(above / below, [2.5, 97.5])
    return Estimate(float(first[known].mean() / second[known].mean()), float(low), float(high), int(known.sum()))


def annotated_wins(first: np.ndarray, second: np.ndarray, error: float, rng: np.random.Generator) -> tuple[float, int]:
    """Wins of the first (a tie counts half) and votes, when an annotator compares images of one condition and noise.

    ``first`` and ``second`` are the exact judge's verdicts (1 rational, 0 not) of any one shape; each vote on a pair
    that differs is turned round with probability ``error``.
    """
    outcome = np.sign(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).ravel()
    flipped = np.where(rng.random(outcome.shape) < error, -outcome, outcome)
    return float((flipped + 1).sum() / 2), outcome.size


def ratings(verdicts: Mapping[str, np.ndarray], base: str, error: float = 0.1, seed: int = 0) -> dict[str, Estimate]:
    """Elo of every arm by simulated annotators, the base at ANCHOR; intervals resample conditions and seeds.

    ``verdicts`` float [S, C, K] by training seed, condition and noise (1 rational, 0 not). Every arm meets every other
    on every condition and noise; Bradley-Terry on all votes. Source of the scale: 400 points are odds of ten.
    """
    names = list(verdicts)
    rng = np.random.default_rng(seed)
    point = _rate(names, verdicts, base, error, rng, None)
    draws = np.array([_rate(names, verdicts, base, error, rng, rng) for _ in range(RATING_DRAWS)])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    counts = {name: int(np.asarray(verdicts[name]).size) * (len(names) - 1) for name in names}
    return {
        name: Estimate(float(point[i]), float(low[i]), float(high[i]), counts[name]) for i, name in enumerate(names)
    }


def _rate(
    names: list[str],
    verdicts: Mapping[str, np.ndarray],
    base: str,
    error: float,
    votes: np.random.Generator,
    resample: np.random.Generator | None,
) -> np.ndarray:
    conditions = next(iter(verdicts.values())).shape[1]
    columns = np.arange(conditions) if resample is None else resample.integers(conditions, size=conditions)
    drawn = {}
    for name in names:
        seeds = len(verdicts[name])
        rows = np.arange(seeds) if resample is None else resample.integers(seeds, size=seeds)
        drawn[name] = verdicts[name][np.ix_(rows, columns)]
    wins = np.zeros((len(names), len(names)))
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            one, other = np.broadcast_arrays(*_aligned(drawn[first], drawn[names[j]]))
            won, met = annotated_wins(one, other, error, votes)
            wins[i, j], wins[j, i] = won, met - won
    strengths = bradley_terry(wins)
    return ANCHOR + (strengths - strengths[names.index(base)]) * 400 / math.log(10)


def _aligned(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut to a common number of seeds, unless one has a single row that meets them all."""
    if len(first) == 1 or len(second) == 1:
        return first, second
    shared = min(len(first), len(second))
    return first[:shared], second[:shared]


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Log-strengths [A], mean 0, of a matrix of wins [A, A] (row over column; ties count half on both sides).

    Newton steps on the likelihood with half a win added to every pair that met, so that a whitewash stays finite.
    """
    met = (wins + wins.T) > 0
    wins = wins + 0.5 * met
    games, strength = wins + wins.T, np.zeros(len(wins))
    for _ in range(50):
        chance = 1 / (1 + np.exp(strength[None] - strength[:, None]))
        gradient = (wins - games * chance).sum(axis=1)
        weight = games * chance * (1 - chance)
        curvature = np.diag(weight.sum(axis=1)) - weight + 1e-9 * np.eye(len(wins))
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        strength = strength + np.clip(step - step.mean(), -2, 2)
        if np.abs(step - step.mean()).max() < 1e-9:
            break
    return np.asarray(strength - strength.mean())
