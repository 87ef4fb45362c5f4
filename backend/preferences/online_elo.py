"""Online Elo, which many leaderboards show: one pass over the votes in their order, each moving two ratings.

Its result depends on the order, though the votes are the same; Bradley–Terry's does not. Both are shown side by side,
with the spread of this one over shuffled orders. Source: A. Elo, "The Rating of Chessplayers", 1978.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.preferences.bradley_terry import ELO_MEAN, Floats, Integers

# A vote moves a rating by at most this many points. After some two hundred further votes of a generator nothing of it
# is left, so the latest votes alone give what all of them would.
STEP = 16.0
LATEST = 5_000
SHUFFLES = 100


@dataclass(frozen=True)
class OnlineElo:
    """Final ratings [n] in the order given, and [S, n] of the same votes in shuffled orders."""

    ratings: Floats
    shuffled: Floats


def online_elo(
    size: int, games: Integers, scores: npt.ArrayLike, *, step: float = STEP, shuffles: int = SHUFFLES, seed: int = 0
) -> OnlineElo:
    """One pass over `games` [T, 2] of players 0…size-1 with the first one's `scores` [T] (1 won, 0.5 even, 0 lost)."""
    games = np.asarray(games, dtype=np.int64).reshape(-1, 2)
    score = np.asarray(scores, dtype=np.float64)
    rng = np.random.default_rng(seed)
    orders = np.stack([np.arange(len(games)), *(rng.permutation(len(games)) for _ in range(shuffles))])
    ratings = np.full((len(orders), size), ELO_MEAN)
    every = np.arange(len(orders))
    for turn in range(len(games)):
        at = orders[:, turn]
        first, second = games[at, 0], games[at, 1]
        expected = 1 / (1 + 10 ** ((ratings[every, second] - ratings[every, first]) / 400))
        moved = step * (score[at] - expected)
        ratings[every, first] += moved
        ratings[every, second] -= moved
    return OnlineElo(ratings[0], ratings[1:])
