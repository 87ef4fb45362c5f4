"""Intervals: that they cover what they should, cost what they should, and say what they say."""

import numpy as np
import pytest
from scipy.stats import binomtest

from backend.preferences.bradley_terry import PairCounts, elo, fit, pair_counts
from backend.preferences.intervals import bootstrap, cluster, interval, rank_ranges, side_bias, wilson


def all_pairs(size: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(size, 1)
    return first.astype(np.int64), second.astype(np.int64)


def draw(strengths: np.ndarray, votes: int, rng: np.random.Generator, tie: float = 0.5) -> np.ndarray:
    """[3, P] counts of the Davidson model, `votes` a pair."""
    first, second = all_pairs(len(strengths))
    half = (strengths[first] - strengths[second]) / 2
    chances = np.stack([np.exp(half), np.exp(-half), np.full(len(half), tie)])
    return rng.multinomial(votes, (chances / chances.sum(axis=0)).T).T


def test_vote_bootstrap_covers_the_truth() -> None:
    """95 % intervals of 40 simulations of 6 players: 240 of them, of which 217 to 237 cover (p = 0.001 two-sided)."""
    rng = np.random.default_rng(0)
    covered = 0
    for simulation in range(40):
        truth = rng.normal(0, 0.7, 6)
        counts = PairCounts(6, *all_pairs(6), *draw(truth, 60, rng).astype(float))
        low, high = interval(bootstrap(counts, rounds=300, seed=simulation).strengths)
        truth -= truth.mean()
        covered += int(((low <= truth) & (truth <= high)).sum())
    assert binomtest(covered, 240, 0.95).pvalue > 0.001, covered


def test_clustered_bootstrap_covers_where_annotators_differ_and_plain_does_not() -> None:
    rng = np.random.default_rng(1)
    covered = {"votes": 0, "annotators": 0}
    for simulation in range(40):
        truth = np.array([0.5, 0.2, 0.0, -0.7])
        rows = []
        for person in range(20):
            own = draw(truth + rng.normal(0, 0.8, 4), 15, rng)
            for place, (i, j) in enumerate(zip(*all_pairs(4), strict=True)):
                rows += [(person, int(i), int(j), name, int(own[k, place])) for k, name in enumerate(("a", "b", "tie"))]
        counts = pair_counts(4, [row[1:] for row in rows])
        clusters = cluster(counts, rows)
        # Averaging over annotators draws strengths together; what the fit estimates is that average.
        average = population_average(truth, 0.8)
        low, high = interval(bootstrap(counts, rounds=300, seed=simulation).strengths)
        covered["votes"] += int(((low <= average) & (average <= high)).sum())
        draws = bootstrap(counts, rounds=300, seed=simulation, clusters=clusters)
        low, high = interval(draws.strengths, clusters=clusters.people)
        covered["annotators"] += int(((low <= average) & (average <= high)).sum())
    assert covered["votes"] < 130
    assert binomtest(covered["annotators"], 160, 0.95).pvalue > 0.001, covered


def population_average(truth: np.ndarray, spread: float) -> np.ndarray:
    """Strengths that the pooled votes of very many annotators with strengths N(truth, spread²) are fitted with."""
    rng = np.random.default_rng(99)
    own = truth + rng.normal(0, spread, (100_000, len(truth)))
    first, second = all_pairs(len(truth))
    half = (own[:, first] - own[:, second]) / 2
    chances = np.stack([np.exp(half), np.exp(-half), np.full(half.shape, 0.5)])
    mean = (chances / chances.sum(axis=0)).mean(axis=1)
    return fit(PairCounts(len(truth), first, second, *(mean * 1e6))).strengths


def test_resampled_annotators_carry_all_their_votes() -> None:
    rows = [(7, 0, 1, "a", 3), (7, 1, 0, "a", 1), (9, 1, 2, "tie", 5)]
    counts = pair_counts(3, [row[1:] for row in rows])
    clusters = cluster(counts, rows)
    assert clusters.people == 2
    assert clusters.table.toarray().tolist() == [[3, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 5]]


def test_rank_is_a_range() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([2.0, 0.05, 0.0, -3.0]) + rng.normal(0, 0.3, (2000, 4))
    best, worst = rank_ranges(draws)
    assert best.tolist() == [1, 2, 2, 4] and worst.tolist() == [1, 3, 3, 4]


def test_the_bootstrap_is_the_same_every_time() -> None:
    counts = PairCounts(
        4, *all_pairs(4), *draw(np.array([0.4, 0.1, 0.0, -0.5]), 30, np.random.default_rng(0)).astype(float)
    )
    once, again, other = (bootstrap(counts, rounds=50, seed=seed).strengths for seed in (0, 0, 1))
    assert np.array_equal(once, again) and not np.array_equal(once, other)
    low, high = interval(elo(bootstrap(counts, rounds=200).strengths))
    middle = elo(fit(counts).strengths)
    assert ((low < middle) & (middle < high)).all()


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (5, 10), (10, 10), (36, 100)])
def test_wilson_equals_scipy(successes: int, count: int) -> None:
    ours = wilson(successes, count)
    theirs = binomtest(successes, count).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert wilson(0, 0).value is None


def test_side_bias_is_the_share_the_left_one_won() -> None:
    rows = [(True, "a", 30), (False, "a", 10), (True, "b", 10), (False, "b", 30), (True, "tie", 50)]
    share = side_bias(rows)
    assert share.value == pytest.approx(60 / 80) and share.count == 80
    assert share.low is not None and share.low > 0.5
