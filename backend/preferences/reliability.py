"""How far each annotator can be trusted, from whom they agree with; no truth is needed.

The one-coin model of A. P. Dawid and A. M. Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM
Algorithm", 1979: a unit (two candidates) has one better side, and an annotator says which with probability r. Units,
their better sides and all r are estimated together.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.preferences.bradley_terry import Floats
from backend.preferences.consensus import ASSUMED_AGREEMENT

# Two annotators of this reliability agree as often as is assumed before anything was measured: A = r² + (1-r)².
ASSUMED = (1 + (2 * ASSUMED_AGREEMENT - 1) ** 0.5) / 2
# The assumed reliability weighs as much as this many votes that others judged too.
ASSUMED_VOTES = 10.0
_EDGE = 1e-9


@dataclass(frozen=True)
class Reliability:
    """For each of n annotators: `value` r in [0, 1] (0.5 is guessing) with its 95 % interval `low`…`high`, `votes`,
    how many of theirs others judged too, and `guessing`, how many times likelier (natural logarithm) their votes are
    of one who guesses than of one as reliable as the median. `coin` is the one-coin model's own r. All [n].

    What an annotator said speaks for their own r in the one-coin model, which flatters a guesser where few judge each
    unit. All but `coin` rests on what the others said alone.
    """

    coin: Floats
    value: Floats
    low: Floats
    high: Floats
    votes: Floats
    guessing: Floats


def reliability(
    annotators: npt.ArrayLike,
    units: npt.ArrayLike,
    prefers_first: npt.ArrayLike,
    size: int,
    *,
    assumed_votes: float = ASSUMED_VOTES,
    iterations: int = 500,
    tolerance: float = 1e-9,
) -> Reliability:
    """EM on votes [T] of `annotators` (0…size-1) on `units` (0…) that say whether the first is the better.

    Votes on units that only one annotator judged say nothing of anybody and are left out. `assumed_votes` is the
    weight of the assumed reliability, in votes.
    """
    who, unit = np.asarray(annotators, dtype=np.int64), np.asarray(units, dtype=np.int64)
    says = np.asarray(prefers_first, dtype=bool)
    number = int(unit.max(initial=-1)) + 1
    shared = _shared(who, unit, number)
    counted = np.bincount(who[shared], minlength=size).astype(np.float64)
    votes = np.bincount(unit, minlength=number)
    first = np.bincount(unit, weights=says, minlength=number) / np.maximum(votes, 1)
    coin = np.zeros(size)
    for _ in range(iterations):
        agrees = np.where(says, first[unit], 1 - first[unit])
        right = np.bincount(who[shared], weights=agrees[shared], minlength=size)
        with np.errstate(invalid="ignore"):
            reached = (right + ASSUMED * assumed_votes) / (counted + assumed_votes)
        reached = np.where(np.isfinite(reached), reached, ASSUMED)
        own = np.log(np.clip(reached, _EDGE, 1) / np.clip(1 - reached, _EDGE, 1))[who] * np.where(says, 1, -1)
        total = np.bincount(unit, weights=own, minlength=number)
        first = 1 / (1 + np.exp(-total))
        moved, coin = np.max(np.abs(reached - coin), initial=0.0), reached
        if moved < tolerance:
            break
    if not shared.any():
        nothing = np.zeros(size)
        return Reliability(coin, nothing + ASSUMED, nothing, nothing + 1, counted, nothing)
    others = (total[unit] - own)[shared]
    right = 1 / (1 + np.exp(np.where(says[shared], -others, others)))
    value, low, high = _posterior(who[shared], right, size, assumed_votes)
    return Reliability(coin, value, low, high, counted, _guessing(who[shared], right, value, counted))


# Reliabilities at which likelihoods are compared.
_GRID = np.linspace(0.005, 0.995, 199)


def _log_likelihood(who: npt.NDArray[np.int64], right: Floats, value: Floats, size: int) -> Floats:
    """[n] of reliabilities `value` [n], from the probability [T] by what others said that each vote is right."""
    chance = value[who] * right + (1 - value[who]) * (1 - right)
    return np.bincount(who, weights=np.log(chance), minlength=size)


def _posterior(
    who: npt.NDArray[np.int64], right: Floats, size: int, assumed_votes: float
) -> tuple[Floats, Floats, Floats]:
    """Mean [n] and ends of the central 95 % of each one's posterior, the prior counting as the assumed votes."""
    prior = assumed_votes * (ASSUMED * np.log(_GRID) + (1 - ASSUMED) * np.log(1 - _GRID))
    logs = np.stack([_log_likelihood(who, right, np.full(size, value), size) for value in _GRID]) + prior[:, None]
    weight = np.exp(logs - logs.max(axis=0))
    weight /= weight.sum(axis=0)
    share = np.cumsum(weight, axis=0)
    return _GRID @ weight, _GRID[(share >= 0.025).argmax(axis=0)], _GRID[(share >= 0.975).argmax(axis=0)]


def _guessing(who: npt.NDArray[np.int64], right: Floats, value: Floats, counted: Floats) -> Floats:
    size = len(value)
    typical = np.full(size, np.median(value[counted > 0]))
    return _log_likelihood(who, right, np.full(size, 0.5), size) - _log_likelihood(who, right, typical, size)


def _shared(who: npt.NDArray[np.int64], unit: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.bool_]:
    """[T] whether anybody else judged the vote's unit."""
    pairs = np.unique(np.stack([unit, who]), axis=1)
    annotators = np.bincount(pairs[0], minlength=number)
    return annotators[unit] > 1


def weights(value: npt.ArrayLike, votes: npt.ArrayLike) -> Floats:
    """What a vote of each annotator [n] weighs: their competence 2r - 1 as a share of the median one, between 0 and 1.

    The median is taken over votes, so that many idle spammers cannot move it. Nobody weighs more than one vote.
    """
    competence = np.clip(2 * np.asarray(value, dtype=np.float64) - 1, 0, None)
    counted = np.asarray(votes, dtype=np.float64)
    if counted.sum() == 0:
        return np.ones_like(competence)
    order = np.argsort(competence)
    middle = np.searchsorted(np.cumsum(counted[order]), counted.sum() / 2)
    typical = competence[order[min(int(middle), len(order) - 1)]]
    return np.minimum(1.0, competence / typical) if typical > 0 else np.ones_like(competence)
