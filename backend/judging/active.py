"""Which two generators should meet next: where a vote is expected to put most of their order right.

Strengths follow Bradley and Terry (1952) with Davidson's ties (JASA 1970), get a Gaussian prior and Laplace's
approximation of their posterior. With the gap of two generators at m ± s, the chance that their order is still wrong in
the end is proportional to the posterior density of a gap of nought, φ(m/s)/s, times the standard error s′ that will be
left; per unit of variance taken away it therefore falls by φ(m/s)/s². A vote between any two takes variance away from
every gap, by rank one; its gain is the sum over all pairs (an expected drop of Kendall's distance). φ is taken to the
power SHARPNESS, so that, as in a sequential test, what is in doubt is asked until it is settled before votes go into
making the likely more certain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# In natural logarithms of odds: two generators may well differ by 1 (73 % against 27 %), hardly by 5.
PRIOR_SPREAD = 1.5
NEWTON_STEPS = 50
LONGEST_STEP = 2.0
# Chosen by simulation on other seeds than those bench/active.py takes; from 2 to 16 it matters little.
SHARPNESS = 4.0
# Shares are planned for this part of the votes so far, and for no fewer than LEAST_AHEAD, in PARTS equal parts.
AHEAD, LEAST_AHEAD, PARTS = 0.05, 16.0, 8


@dataclass(frozen=True)
class Tally:
    """[…,N,N]: `wins[i,j]` is how often i beat j, ties half; `ties[i,j]` = `ties[j,i]` how many of them were ties."""

    wins: Floats
    ties: Floats


@dataclass(frozen=True)
class Posterior:
    """Strengths in natural logarithms of odds: mean […,N], precision […,N,N] and the tie parameter ν […,1,1]."""

    mean: Floats
    precision: Floats
    tie: Floats


def _outcome(mean: Floats, tie: Floats) -> tuple[Floats, Floats, Floats]:
    """Expected score of i against j, its variance (Fisher's information of a vote), and the chance of a tie."""
    half = np.exp((mean[..., :, None] - mean[..., None, :]) / 2)
    total = half + 1 / half + tie
    score = (half + tie / 2) / total
    return score, (half + tie / 4) / total - score**2, tie / total


def _laplacian(weights: Floats) -> Floats:
    """Σ weights[i,j] (eᵢ-eⱼ)(eᵢ-eⱼ)ᵀ over pairs, of symmetric weights […,N,N] with nothing on the diagonal."""
    found: Floats = weights.sum(axis=-1)[..., None] * np.eye(weights.shape[-1]) - weights
    return found


def posterior(votes: Tally, *, spread: float = PRIOR_SPREAD) -> Posterior:
    """Laplace's approximation of the strengths of N generators, for one tally or a stack of them."""
    games = votes.wins + np.swapaxes(votes.wins, -1, -2)
    ties = votes.ties.sum(axis=(-2, -1), keepdims=True)
    mean = np.zeros(games.shape[:-1])
    # Where all are alike, this ν gives the ties seen; a game more keeps it finite.
    tie = 2 * ties / (games.sum(axis=(-2, -1), keepdims=True) - ties + 1)
    prior = np.eye(games.shape[-1]) / spread**2
    for _ in range(NEWTON_STEPS):
        score, variance, tied = _outcome(mean, tie)
        gradient = (votes.wins - games * score).sum(axis=-1) - mean / spread**2
        precision = _laplacian(games * variance) + prior
        step = np.linalg.solve(precision, gradient[..., None])[..., 0]
        mean = mean + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
        expected = (games * tied).sum(axis=(-2, -1), keepdims=True)
        ratio = np.where(expected > 0, ties / np.where(expected > 0, expected, 1), 1.0)
        tie = tie * ratio
        if np.abs(step).max() < 1e-9 and np.abs(ratio - 1).max() < 1e-9:
            break
    return Posterior(mean, precision, tie)


def _variance(form: Floats) -> Floats:
    """(eᵢ-eⱼ)ᵀ form (eᵢ-eⱼ) of all i, j: […,N,N]."""
    own = np.diagonal(form, axis1=-2, axis2=-1)
    found: Floats = own[..., :, None] + own[..., None, :] - 2 * form
    return found


def gains(state: Posterior) -> Floats:
    """What one vote between i and j is worth for the order of all generators: […,N,N], symmetric, up to a factor."""
    apart = ~np.eye(state.precision.shape[-1], dtype=bool)
    covariance = np.asarray(np.linalg.inv(state.precision), dtype=np.float64)
    variance = np.where(apart, _variance(covariance), 1.0)
    squared = np.where(apart, (state.mean[..., :, None] - state.mean[..., None, :]) ** 2 / variance, np.inf)
    # Relative to the pair most in doubt, so that the exponential of what is long settled stays a number.
    least = squared.min(axis=(-2, -1), keepdims=True)
    doubt = np.exp(-SHARPNESS * (squared - least) / 2) / variance
    _, information, _ = _outcome(state.mean, state.tie)
    reach = covariance @ _laplacian(doubt) @ covariance
    found: Floats = np.where(apart, information * _variance(reach), 0.0)
    return np.maximum(found, 0.0)


def shares(votes: Tally, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """How active draws divide among the K matchups (`first[k]`, `second[k]`): […,K], sums to 1.

    The coming votes are given out part by part to the matchup that gains most, each time as if the part before it had
    been counted; what gains alike gets alike.
    """
    state = posterior(votes)
    _, information, _ = _outcome(state.mean, state.tie)
    part = np.maximum(votes.wins.sum(axis=(-2, -1)) * AHEAD, LEAST_AHEAD)[..., None] / PARTS
    found = np.zeros((*votes.wins.shape[:-2], len(first)))
    for _ in range(PARTS):
        gain = gains(state)[..., first, second]
        best = gain >= gain.max(axis=-1, keepdims=True) * (1 - 1e-9)
        given = best / best.sum(axis=-1, keepdims=True)
        found += given
        added = np.zeros_like(votes.wins)
        added[..., first, second] = given * part
        added = (added + np.swapaxes(added, -1, -2)) * information
        state = Posterior(state.mean, state.precision + _laplacian(added), state.tie)
    return found / PARTS


def tally(generators: dict[int, int], votes: list[tuple[int, int, str, int]]) -> Tally:
    """From (generator, generator, outcome, count); `generators` maps ids to places 0…N-1. "both_bad" is a tie."""
    wins, ties = np.zeros((2, len(generators), len(generators)))
    for a, b, outcome, count in votes:
        i, j = generators[a], generators[b]
        if outcome in ("a", "b"):
            better, worse = (i, j) if outcome == "a" else (j, i)
            wins[better, worse] += count
        else:
            wins[[i, j], [j, i]] += count / 2
            ties[[i, j], [j, i]] += count
    return Tally(wins, ties)
