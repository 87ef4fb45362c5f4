"""Which two generators should meet next: where one more vote is expected to tell most about their order.

The strengths of Bradley and Terry (1952) get a Gaussian prior and Laplace's approximation of their posterior; a vote's
worth is the mutual information between its outcome and the question which of the two is better (Lindley 1956; the
same quantity as "BALD", Houlsby et al. 2011, arXiv:1112.5745). Ties count half to each side.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# In natural logarithms of odds: two generators may well differ by 1 (73 % against 27 %), hardly by 5.
PRIOR_SPREAD = 1.5
NEWTON_STEPS = 50
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
# Draws follow the gain to this power: sharp enough to stay with the open questions, soft enough to ask several of them
# between two looks at the votes (bench/active.py).
SHARPNESS = 6.0


@dataclass(frozen=True)
class Posterior:
    """Strengths in natural logarithms of odds: their mean [N] and covariance [N,N]."""

    mean: Floats
    covariance: Floats


def posterior(wins: Floats, *, spread: float = PRIOR_SPREAD) -> Posterior:
    """Laplace's approximation of the strengths of N generators; `wins[i,j]` is how often i beat j, ties half."""
    games = wins + wins.T
    mean = np.zeros(len(wins))
    precision = np.eye(len(wins)) / spread**2
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(mean[None, :] - mean[:, None]))
        gradient = (wins - games * chance).sum(axis=1) - mean / spread**2
        weight = games * chance * (1 - chance)
        hessian = np.diag(weight.sum(axis=1)) - weight + precision
        step = np.linalg.solve(hessian, gradient)
        mean = mean + step
        if np.abs(step).max() < 1e-9:
            break
    return Posterior(mean, np.linalg.inv(hessian))


def _entropy(chance: Floats) -> Floats:
    chance = np.clip(chance, 1e-12, 1 - 1e-12)
    found: Floats = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance))
    return found


def information_gain(state: Posterior, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Expected information, in nats, of one vote between `first[k]` and `second[k]` about which of them is better."""
    covariance = state.covariance
    variance = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
    gap = (state.mean[first] - state.mean[second])[:, None] + np.sqrt(np.maximum(variance, 1e-12))[:, None] * NODES
    wins = 1 / (1 + np.exp(-gap))
    ahead = (gap > 0) * NODE_WEIGHTS + (gap == 0) * NODE_WEIGHTS / 2
    better = np.clip(ahead.sum(axis=1), 1e-12, 1 - 1e-12)
    win, win_ahead = wins @ NODE_WEIGHTS, (wins * ahead).sum(axis=1)
    given_ahead, given_behind = win_ahead / better, (win - win_ahead) / (1 - better)
    gain = _entropy(win) - better * _entropy(given_ahead) - (1 - better) * _entropy(given_behind)
    return np.maximum(gain, 0.0)


def shares(wins: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """How active draws divide among the matchups (`first[k]`, `second[k]`); sums to 1."""
    gain = information_gain(posterior(wins), first, second) ** SHARPNESS
    total = gain.sum()
    return gain / total if total > 0 else np.full(len(first), 1 / len(first))


def tally(generators: dict[int, int], votes: list[tuple[int, int, str, int]]) -> Floats:
    """wins[i,j] from (generator, generator, outcome, count); `generators` maps ids to places 0…N-1."""
    wins = np.zeros((len(generators), len(generators)))
    halves: dict[Any, tuple[float, float]] = {"a": (1.0, 0.0), "b": (0.0, 1.0)}
    for a, b, outcome, count in votes:
        i, j = generators[a], generators[b]
        to_a, to_b = halves.get(outcome, (0.5, 0.5))
        wins[i, j] += to_a * count
        wins[j, i] += to_b * count
    return wins
