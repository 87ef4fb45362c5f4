"""Bradley–Terry strengths with ties, fitted on aggregated counts, for one data set or a stack of resampled ones.

Davidson's model (R. R. Davidson, "On extending the Bradley-Terry model to accommodate ties", JASA 1970): for strengths
θ (natural logarithm) and a tie parameter ν ≥ 0, with d = θᵢ - θⱼ,

    P(i wins) ∝ exp(d/2),   P(j wins) ∝ exp(-d/2),   P(tie) ∝ ν.

With ν = 0 this is the plain Bradley–Terry model, which is what ties counted as half a win to each are fitted with.
Where it is known which of the two stood left, d = θᵢ - θⱼ + γ with i the left one: γ is what being there is worth, as
for the home side in sports (A. Agresti, "Categorical Data Analysis", 3rd ed., 11.6.4), and θ is what remains.
The log-likelihood is concave in (θ, γ, log ν), so Newton steps with step halving reach the one maximum.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Ties = Literal["davidson", "half"]

# A Gaussian prior of standard deviation 4 (about 700 Elo points) on every strength, on γ and on log ν: a few dozen
# votes outweigh it, yet it keeps strengths finite where a generator has won everything or two groups never met.
DEFAULT_PRIOR = 1 / 16
OUTCOMES = ("a", "b", "tie", "both_bad")
ELO_PER_NAT = 400 / np.log(10)
ELO_MEAN = 1500.0


@dataclass(frozen=True)
class PairCounts:
    """Votes by pair: `first` and `second` [P] index `size` players and every line stands once.

    `wins` (first over second), `losses` and `ties` are [P] or, for a stack of B data sets, [B, P]. Where `sided`, the
    first is the one that stood left, and two players may have two lines, one each way round.
    """

    size: int
    first: Integers
    second: Integers
    wins: Floats
    losses: Floats
    ties: Floats
    sided: bool = False

    @property
    def total(self) -> Floats:
        return self.wins + self.losses + self.ties


@dataclass(frozen=True)
class Fit:
    """Strengths θ [n] or [B, n] with mean 0, the tie parameter ν (0 where ties count half), the advantage γ of the left
    side (0 where the votes do not tell sides), and how it was reached."""

    strengths: Floats
    tie: Floats
    side: Floats
    log_likelihood: Floats
    iterations: int
    converged: bool


def pair_counts(size: int, rows: Iterable[tuple[int, int, str, float]], *, sided: bool = False) -> PairCounts:
    """Rows (i, j, outcome, count) brought to one line a pair; outcome "a" is a win of i, "b" of j.

    With `sided`, i stood left of j, and that stays told. "both_bad" counts as a tie: it says that neither is the
    better. Raises ValueError for an unknown outcome, a player outside 0…size-1, a player against itself, or a negative
    count.
    """
    lines = list(rows)
    for outcome in {row[2] for row in lines}.difference(OUTCOMES):
        raise ValueError(f"Outcome {outcome!r} is none of {', '.join(OUTCOMES)}.")
    ends = np.array([row[:2] for row in lines], dtype=np.int64).reshape(-1, 2)
    place = np.array([min(OUTCOMES.index(row[2]), 2) for row in lines], dtype=np.int64)
    number = np.array([row[3] for row in lines], dtype=np.float64)
    wrong = (ends[:, 0] == ends[:, 1]) | (ends < 0).any(axis=1) | (ends >= size).any(axis=1)
    if wrong.any():
        i, j = ends[int(np.argmax(wrong))]
        raise ValueError(f"A vote needs two different players of 0…{size - 1}, not {i} and {j}.")
    if (number < 0).any():
        raise ValueError(f"The count of {lines[int(np.argmin(number))][:3]} is negative.")
    if not sided:
        swapped = ends[:, 0] > ends[:, 1]
        place = np.where(swapped & (place < 2), 1 - place, place)
        ends = np.sort(ends, axis=1)
    pairs, line = np.unique(ends[:, 0] * size + ends[:, 1], return_inverse=True)
    cells = np.zeros((len(pairs), 3))
    np.add.at(cells, (line, place), number)
    return PairCounts(size, pairs // size, pairs % size, cells[:, 0], cells[:, 1], cells[:, 2], sided)


def is_connected(counts: PairCounts) -> bool:
    """Whether the unregularised maximum exists: every player leads to every other by wins or ties (one data set)."""
    return _components(counts, "strong")[0] == 1


def groups(counts: PairCounts) -> Integers:
    """[n] labels of the groups that never met each other; ratings across groups rest on the prior alone."""
    return _components(counts, "weak")[1].astype(np.int64)


def _components(counts: PairCounts, connection: str) -> tuple[int, npt.NDArray[np.int32]]:
    weights = np.concatenate([counts.wins + counts.ties, counts.losses + counts.ties])
    rows = np.concatenate([counts.first, counts.second])
    columns = np.concatenate([counts.second, counts.first])
    kept = weights > 0
    graph = coo_array((weights[kept], (rows[kept], columns[kept])), shape=(counts.size, counts.size))
    number, labels = connected_components(graph, directed=True, connection=connection)
    return int(number), labels


def fit(
    counts: PairCounts,
    *,
    ties: Ties = "davidson",
    prior: float = DEFAULT_PRIOR,
    start: Fit | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 200,
) -> Fit:
    """The maximum of the (penalised) likelihood for one data set or for each of a stack of B at once.

    `prior` is the precision of the Gaussian prior on each strength and on log ν; 0 gives plain maximum likelihood and
    raises ValueError where that has no finite maximum. `start` is a fit of one data set to begin from.
    """
    if counts.size < 1:
        raise ValueError("A rating needs at least one player.")
    if prior < 0:
        raise ValueError("The prior's precision cannot be negative.")
    stacked = counts.wins.ndim == 2
    if prior == 0 and stacked:
        raise ValueError("A stack of resampled votes needs a prior above 0: some resamples have no finite maximum.")
    if prior == 0 and not stacked and not is_connected(counts):
        raise ValueError(
            "Without a prior these votes have no finite ratings: some players never lost, never won or never met the "
            "others. Give a prior above 0."
        )
    problem = _Problem(counts, with_ties=ties == "davidson" and bool(np.any(counts.ties > 0)), prior=prior)
    point = problem.start(start)
    value = problem.value(point)
    converged = False
    iteration = 0
    while iteration < max_iterations and not converged:
        iteration += 1
        step = problem.newton_step(point)
        point, value = problem.advance(point, value, step)
        converged = bool(np.max(np.abs(step), initial=0.0) < tolerance)
    parts = [*problem.unpack(point), problem.log_likelihood(point)]
    if not stacked:
        parts = [part[0] for part in parts]
    strengths, tie, side, likelihood = parts
    return Fit(strengths, tie, side, likelihood, iteration, converged)


class _Problem:
    """The penalised likelihood of B data sets on the same pairs; a point is [B, n], then γ and log ν where they are."""

    def __init__(self, counts: PairCounts, *, with_ties: bool, prior: float) -> None:
        wins, losses, ties = (np.atleast_2d(part) for part in (counts.wins, counts.losses, counts.ties))
        self.size, self.with_ties, self.prior = counts.size, with_ties, prior
        self.linear = counts.size + counts.sided
        self.total = wins + losses + ties
        self.half_difference = (wins - losses) / 2
        self.ties = ties
        self.batch, pairs = wins.shape
        every = np.arange(pairs)
        # d = design @ (θ, γ), and the outer product of each line of the design, for the curvature.
        self.design = np.zeros((pairs, self.linear))
        self.design[every, counts.first] = 1
        self.design[every, counts.second] = -1
        self.design[:, counts.size :] = 1
        rows, lefts = np.nonzero(self.design)
        width = 2 + counts.sided
        left, right = np.repeat(lefts, width), np.repeat(lefts.reshape(pairs, width), width, axis=0).ravel()
        lines = np.repeat(rows, width)
        values = self.design[lines, left] * self.design[lines, right]
        self.outer = csr_array((values, (left * self.linear + right, lines)), shape=(self.linear**2, pairs))

    def start(self, fit: Fit | None) -> Floats:
        point = np.zeros((self.batch, self.linear + self.with_ties))
        if fit is not None:
            point[:, : self.size] = fit.strengths
            point[:, self.size : self.linear] = fit.side
            if self.with_ties:
                point[:, self.linear] = np.log(np.maximum(fit.tie, 1e-6))
        return point

    def unpack(self, point: Floats) -> tuple[Floats, Floats, Floats]:
        strengths = point[:, : self.size]
        nothing = np.zeros(self.batch)
        tie = np.exp(point[:, self.linear]) if self.with_ties else nothing
        side = point[:, self.size] if self.linear > self.size else nothing
        return strengths - strengths.mean(axis=1, keepdims=True), tie, side

    def _half_gap(self, point: Floats) -> Floats:
        return point[:, : self.linear] @ (self.design.T / 2)

    def _log_normaliser(self, point: Floats, half_gap: Floats) -> Floats:
        magnitude = np.abs(half_gap)
        if not self.with_ties:
            return magnitude + np.log1p(np.exp(-2 * magnitude))
        # log(2cosh(x) + ν), with the larger exponent taken out.
        log_tie = point[:, self.linear :]
        top = np.maximum(magnitude, log_tie)
        return top + np.log(np.exp(magnitude - top) + np.exp(-magnitude - top) + np.exp(log_tie - top))

    def log_likelihood(self, point: Floats) -> Floats:
        """[B]; constants that do not depend on the parameters are left out."""
        half_gap = self._half_gap(point)
        terms = 2 * self.half_difference * half_gap - self.total * self._log_normaliser(point, half_gap)
        result = terms.sum(axis=1)
        return result + self.ties.sum(axis=1) * point[:, self.linear] if self.with_ties else result

    def value(self, point: Floats) -> Floats:
        return self.log_likelihood(point) - self.prior / 2 * (point**2).sum(axis=1)

    def newton_step(self, point: Floats) -> Floats:
        half_gap = self._half_gap(point)
        log_normaliser = self._log_normaliser(point, half_gap)
        win, lose = np.exp(half_gap - log_normaliser), np.exp(-half_gap - log_normaliser)
        lean = (win - lose) / 2
        size, linear, length = self.size, self.linear, point.shape[1]
        gradient = np.zeros_like(point)
        gradient[:, :linear] = (self.half_difference - self.total * lean) @ self.design
        curvature = self.total * ((win + lose) / 4 - lean**2)
        hessian = np.zeros((self.batch, length, length))
        hessian[:, :linear, :linear] = (self.outer @ curvature.T).T.reshape(self.batch, linear, linear)
        # Only differences of strengths are known: this fixes the mean and leaves every other direction alone.
        scale = np.maximum(curvature.sum(axis=1) / size, 1.0) / size
        hessian[:, :size, :size] += scale[:, None, None]
        if self.with_ties:
            tie = np.exp(point[:, linear:] - log_normaliser)
            gradient[:, linear] = (self.ties - self.total * tie).sum(axis=1)
            cross = (-self.total * lean * tie) @ self.design
            hessian[:, :linear, linear] = cross
            hessian[:, linear, :linear] = cross
            hessian[:, linear, linear] = (self.total * tie * (1 - tie)).sum(axis=1)
        every = np.arange(length)
        # The small floor keeps a resample without a single vote for the tie parameter solvable.
        hessian[:, every, every] += self.prior + 1e-12
        return np.linalg.solve(hessian, (gradient - self.prior * point)[..., None])[..., 0]

    def advance(self, point: Floats, value: Floats, step: Floats) -> tuple[Floats, Floats]:
        """The point after a step, halved for those data sets in which it would go down."""
        scale = np.ones(self.batch)
        slack = 1e-10 * (1 + np.abs(value))
        for _ in range(30):
            moved = point + scale[:, None] * step
            reached = self.value(moved)
            worse = ~(reached >= value - slack)
            if not worse.any():
                return moved, reached
            scale[worse] /= 2
        keep = worse[:, None]
        return np.where(keep, point, moved), np.where(worse, value, reached)


def elo(strengths: Floats, base: int | None = None) -> Floats:
    """Strengths [..., n] on the Elo scale (400 points are ten-to-one odds): mean 1500, or player `base` at 1500."""
    anchor = strengths.mean(axis=-1, keepdims=True) if base is None else strengths[..., base : base + 1]
    return ELO_MEAN + ELO_PER_NAT * (strengths - anchor)


def win_probability(strengths: Floats, tie: float = 0.0) -> Floats:
    """[n, n] of the expected score of row against column: P(win) + P(tie)/2."""
    half_gap = (strengths[:, None] - strengths[None, :]) / 2
    win, lose = np.exp(half_gap), np.exp(-half_gap)
    return (win + tie / 2) / (win + lose + tie)
