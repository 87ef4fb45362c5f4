"""Uncertainty of ratings and shares: bootstraps on aggregated counts, rank ranges, Wilson intervals, side bias."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.special import ndtri, stdtrit

from backend.preferences.bradley_terry import DEFAULT_PRIOR, OUTCOMES, Fit, Floats, PairCounts, Ties, fit

# Stacks are fitted a block at a time so that memory stays flat whatever the number of generators.
_BLOCK_CELLS = 2_000_000


@dataclass(frozen=True)
class Clusters:
    """The votes of `counts` by who gave them: a sparse [people, 3P] of counts in the order wins, losses, ties."""

    people: int
    table: coo_array


@dataclass(frozen=True)
class Share:
    """A share of `count` with its Wilson interval; all three are null where nothing was counted."""

    value: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Draws:
    """Fits of resampled votes: strengths [B, n] with mean 0, and the advantage of the left side [B]."""

    strengths: Floats
    side: Floats


def cluster(counts: PairCounts, rows: Iterable[tuple[int, int, int, str, float]]) -> Clusters:
    """Rows (person, i, j, outcome, count) laid over the pairs of `counts`, which must hold every pair of theirs."""
    lines = list(rows)
    people, line = np.unique([row[0] for row in lines], return_inverse=True)
    first, second = (np.array([row[end] for row in lines], dtype=np.int64) for end in (1, 2))
    place = np.array([min(OUTCOMES.index(row[3]), 2) for row in lines], dtype=np.int64)
    if not counts.sided:
        swapped = first > second
        place = np.where(swapped & (place < 2), 1 - place, place)
        first, second = np.minimum(first, second), np.maximum(first, second)
    pairs = len(counts.first)
    column = np.searchsorted(counts.first * counts.size + counts.second, first * counts.size + second)
    table = coo_array(
        ([float(row[4]) for row in lines], (line, place * pairs + column)), shape=(len(people), 3 * pairs)
    )
    table.sum_duplicates()
    return Clusters(len(people), table)


def bootstrap(
    counts: PairCounts,
    *,
    rounds: int = 1000,
    seed: int = 0,
    clusters: Clusters | None = None,
    ties: Ties = "davidson",
    prior: float = DEFAULT_PRIOR,
    start: Fit | None = None,
) -> Draws:
    """Fits of `rounds` resamples of the votes, or of annotators with all their votes where `clusters` is given.

    Votes are resampled by one multinomial draw over the aggregated cells, so the cost does not depend on their number.
    """
    start = start or fit(counts, ties=ties, prior=prior)
    pairs = len(counts.first)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // max(1, 3 * pairs, (counts.size + 2) ** 2))
    drawn = []
    for begin in range(0, rounds, block):
        cells = _resample(counts, min(block, rounds - begin), rng, clusters)
        wins, losses, tied = (cells[:, part * pairs : (part + 1) * pairs] for part in range(3))
        stack = PairCounts(counts.size, counts.first, counts.second, wins, losses, tied, counts.sided)
        # A thousandth of an Elo point is far below any interval, and two or three Newton steps reach it.
        drawn.append(fit(stack, ties=ties, prior=prior, start=start, tolerance=1e-5))
    return Draws(
        np.concatenate([np.zeros((0, counts.size)), *(one.strengths for one in drawn)]),
        np.concatenate([np.zeros(0), *(one.side for one in drawn)]),
    )


def _resample(counts: PairCounts, rounds: int, rng: np.random.Generator, clusters: Clusters | None) -> Floats:
    if clusters is not None:
        weights = rng.multinomial(clusters.people, np.full(clusters.people, 1 / clusters.people), size=rounds)
        return np.asarray((clusters.table.tocsr().T @ weights.T).T, dtype=np.float64)
    cells = np.concatenate([counts.wins, counts.losses, counts.ties])
    total = cells.sum()
    if total == 0:
        return np.zeros((rounds, len(cells)))
    return rng.multinomial(round(total), cells / total, size=rounds).astype(np.float64)


def interval(draws: Floats, level: float = 0.95, clusters: int | None = None) -> tuple[Floats, Floats]:
    """Lower and upper ends [n] of percentile intervals of `draws` [B, n].

    With a number of `clusters` G the draws are spread about their median by the small-sample factor
    sqrt(G/(G-1)) · t(G-1)/z: resampling G annotators alone is too sure of itself where G is small.
    """
    tail = (1 - level) / 2
    low, middle, high = np.quantile(draws, [tail, 0.5, 1 - tail], axis=0)
    if clusters is not None and clusters > 1:
        factor = np.sqrt(clusters / (clusters - 1)) * stdtrit(clusters - 1, 1 - tail) / ndtri(1 - tail)
        low, high = middle - factor * (middle - low), middle + factor * (high - middle)
    return low, high


def rank_ranges(
    draws: Floats, level: float = 0.95, clusters: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Best and worst rank [n] each player can hold: only players surely above or below (of the draws [B, n]) count.

    Who is surely above is read off the interval of the difference of the two, as `interval` gives it.
    """
    size = draws.shape[1]
    best, worst = np.ones(size, dtype=np.int64), np.full(size, size, dtype=np.int64)
    for player in range(size):
        low, high = interval(draws - draws[:, [player]], level, clusters)
        best[player] += int((low > 0).sum())
        worst[player] -= int((high < 0).sum())
    return best, worst


def wilson(successes: float, count: int, level: float = 0.95) -> Share:
    """A share with Wilson's score interval (E. B. Wilson, JASA 1927)."""
    if count <= 0:
        return Share(None, None, None, 0)
    z = float(ndtri(1 - (1 - level) / 2))
    share = successes / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Share(share, max(0.0, float(centre - spread)), min(1.0, float(centre + spread)), count)


def side_bias(rows: Iterable[tuple[bool, str, int]]) -> Share:
    """The share of decided votes that the image on the left won, from rows (A was shown first, outcome, count).

    The order shown is random and counterbalanced, so a fair annotator's share is one half whatever the images.
    """
    left = decided = 0
    for a_first, outcome, count in rows:
        if outcome in ("a", "b"):
            decided += count
            left += count if (outcome == "a") == a_first else 0
    return wilson(left, decided)
