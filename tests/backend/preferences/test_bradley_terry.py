"""Ratings against other implementations, against the likelihood itself, and against what must not matter."""

import warnings

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from backend.preferences.bradley_terry import (
    PairCounts,
    elo,
    fit,
    groups,
    is_connected,
    pair_counts,
    win_probability,
)

Rows = list[tuple[int, int, str, float]]


def simulated_rows(size: int, votes: int, seed: int, tie: float = 0.5) -> Rows:
    """Votes of the Davidson model between every two of `size` players, `votes` a pair."""
    rng = np.random.default_rng(seed)
    strengths = rng.normal(0, 0.8, size)
    rows: Rows = []
    for i in range(size):
        for j in range(i + 1, size):
            half = (strengths[i] - strengths[j]) / 2
            chances = np.array([np.exp(half), np.exp(-half), tie])
            drawn = rng.multinomial(votes, chances / chances.sum())
            rows += [(i, j, outcome, int(n)) for outcome, n in zip(("a", "b", "tie"), drawn, strict=True)]
    return rows


def score_matrix(rows: Rows, size: int) -> np.ndarray:
    """[n, n] wins of row over column, ties half."""
    wins = np.zeros((size, size))
    for i, j, outcome, count in rows:
        wins[i, j] += count * {"a": 1, "b": 0}.get(outcome, 0.5)
        wins[j, i] += count * {"a": 0, "b": 1}.get(outcome, 0.5)
    return wins


@pytest.mark.parametrize("seed", [0, 1])
def test_ties_as_half_equal_choix(seed: int) -> None:
    rows = simulated_rows(8, 40, seed)
    theirs = choix.ilsr_pairwise_dense(score_matrix(rows, 8), tol=1e-12, max_iter=10_000)
    ours = fit(pair_counts(8, rows), ties="half", prior=0).strengths
    assert np.abs(ours - (theirs - theirs.mean())).max() < 1e-6


@pytest.mark.parametrize("seed", [0, 1])
def test_ties_as_half_equal_evalica(seed: int) -> None:
    import evalica

    rows = simulated_rows(8, 40, seed)
    winners = {"a": evalica.Winner.X, "b": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own hint about an optional solver
        result = evalica.bradley_terry(
            [row[0] for row in rows],
            [row[1] for row in rows],
            [winners[row[2]] for row in rows],
            weights=[float(row[3]) for row in rows],
            tolerance=1e-13,
            limit=100_000,
        )
    theirs = np.log(result.scores.sort_index().to_numpy())
    ours = fit(pair_counts(8, rows), ties="half", prior=0).strengths
    assert np.abs(ours - (theirs - theirs.mean())).max() < 1e-6


def negative_log_likelihood(point: np.ndarray, rows: Rows, prior: float) -> float:
    strengths, log_tie = point[:-1], point[-1]
    total = prior / 2 * float(point @ point)
    for i, j, outcome, count in rows:
        logits = np.array([(strengths[i] - strengths[j]) / 2, (strengths[j] - strengths[i]) / 2, log_tie])
        chosen = {"a": 0, "b": 1}.get(outcome, 2)
        total -= count * float(logits[chosen] - np.logaddexp.reduce(logits))
    return total


@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_davidson_equals_direct_maximisation(prior: float) -> None:
    rows = simulated_rows(5, 30, seed=3)
    ours = fit(pair_counts(5, rows), prior=prior)
    found = minimize(
        negative_log_likelihood, np.zeros(6), args=(rows, prior), method="BFGS", jac="3-point", options={"gtol": 1e-8}
    )
    theirs = found.x[:-1] - found.x[:-1].mean()
    assert np.abs(ours.strengths - theirs).max() < 1e-6
    assert float(ours.tie) == pytest.approx(np.exp(found.x[-1]), abs=1e-6)
    penalty = prior / 2 * float(found.x @ found.x)
    assert float(ours.log_likelihood) == pytest.approx(-(found.fun - penalty), abs=1e-6)


def sided_rows(strengths: np.ndarray, side: float, votes: dict[tuple[int, int], int], seed: int) -> Rows:
    """Votes of the Davidson model with an advantage `side` of the left one, `votes` for each (left, right)."""
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for (i, j), number in votes.items():
        half = (strengths[i] - strengths[j] + side) / 2
        chances = np.array([np.exp(half), np.exp(-half), 0.5])
        drawn = rng.multinomial(number, chances / chances.sum())
        rows += [(i, j, outcome, int(n)) for outcome, n in zip(("a", "b", "tie"), drawn, strict=True)]
    return rows


def test_the_advantage_of_a_side_is_taken_out() -> None:
    truth = np.array([0.4, 0.0, -0.4])
    # The first stands left ten times as often as right: what a broken shuffle would do.
    rows = sided_rows(truth, 0.8, {(i, j): 4000 if i < j else 400 for i in range(3) for j in range(3) if i != j}, 5)
    corrected = fit(pair_counts(3, rows, sided=True))
    assert float(corrected.side) == pytest.approx(0.8, abs=0.06)
    assert np.abs(corrected.strengths - truth).max() < 0.05
    assert np.abs(fit(pair_counts(3, rows)).strengths - truth).max() > 0.2


def test_sides_equal_direct_maximisation() -> None:
    rows = sided_rows(
        np.array([0.7, 0.1, -0.2, -0.6]), 0.5, {(i, j): 25 for i in range(4) for j in range(4) if i != j}, 6
    )

    def negative(point: np.ndarray) -> float:
        total = 0.05 / 2 * float(point @ point)
        for i, j, outcome, count in rows:
            gap = point[i] - point[j] + point[4]
            logits = np.array([gap / 2, -gap / 2, point[5]])
            total -= count * float(logits[("a", "b", "tie").index(outcome)] - np.logaddexp.reduce(logits))
        return total

    found = minimize(negative, np.zeros(6), method="BFGS", jac="3-point", options={"gtol": 1e-8})
    ours = fit(pair_counts(4, rows, sided=True), prior=0.05)
    assert np.abs(ours.strengths - (found.x[:4] - found.x[:4].mean())).max() < 1e-6
    assert float(ours.side) == pytest.approx(found.x[4], abs=1e-6)


def test_counterbalanced_sides_change_no_rank() -> None:
    rows = simulated_rows(6, 40, 2)
    both_ways = [*rows, *((j, i, {"a": "b", "b": "a"}.get(outcome, outcome), n) for i, j, outcome, n in rows)]
    sided, plain = fit(pair_counts(6, both_ways, sided=True)), fit(pair_counts(6, both_ways))
    assert float(sided.side) == pytest.approx(0, abs=1e-9) and np.abs(sided.strengths - plain.strengths).max() < 1e-9


def test_known_odds() -> None:
    ours = fit(pair_counts(2, [(0, 1, "a", 90), (0, 1, "b", 10)]), prior=0)
    assert ours.strengths[0] - ours.strengths[1] == pytest.approx(np.log(9))
    assert float(ours.tie) == 0
    ratings = elo(ours.strengths)
    assert ratings[0] - ratings[1] == pytest.approx(400 * np.log10(9)) and ratings.mean() == pytest.approx(1500)
    assert elo(ours.strengths, base=1)[1] == 1500
    assert win_probability(ours.strengths)[0, 1] == pytest.approx(0.9)


def test_a_stack_is_fitted_as_each_alone() -> None:
    data = [pair_counts(5, simulated_rows(5, 20, seed)) for seed in range(4)]
    first = data[0]
    stack = PairCounts(
        5,
        first.first,
        first.second,
        *(np.stack([getattr(one, part) for one in data]) for part in ("wins", "losses", "ties")),
    )
    together = fit(stack, prior=0.1)
    for index, one in enumerate(data):
        alone = fit(one, prior=0.1)
        assert np.abs(together.strengths[index] - alone.strengths).max() < 1e-7
        assert together.tie[index] == pytest.approx(float(alone.tie))


def test_what_never_met_rests_on_the_prior() -> None:
    counts = pair_counts(5, [(0, 1, "a", 5), (2, 3, "b", 50)])
    assert not is_connected(counts)
    labels = groups(counts)
    assert labels[0] == labels[1] != labels[2] == labels[3] != labels[4]
    ours = fit(counts)
    assert ours.converged and np.isfinite(ours.strengths).all()
    assert ours.strengths[4] == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="no finite ratings"):
        fit(counts, prior=0)


def test_bad_votes_are_refused() -> None:
    with pytest.raises(ValueError, match="none of a, b, tie, both_bad"):
        pair_counts(2, [(0, 1, "left", 1)])
    with pytest.raises(ValueError, match="two different players"):
        pair_counts(2, [(1, 1, "a", 1)])
    with pytest.raises(ValueError, match="two different players"):
        pair_counts(2, [(0, 2, "a", 1)])
    with pytest.raises(ValueError, match="negative"):
        pair_counts(2, [(0, 1, "a", -1)])


votes = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 4), st.sampled_from(["a", "b", "tie", "both_bad"]), st.integers(0, 200)
    ).filter(lambda row: row[0] != row[1]),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(votes, st.permutations(range(5)))
def test_names_of_players_do_not_matter(rows: Rows, names: list[int]) -> None:
    plain = fit(pair_counts(5, rows))
    renamed = fit(pair_counts(5, [(names[i], names[j], outcome, count) for i, j, outcome, count in rows]))
    assert plain.converged and renamed.converged
    assert np.abs(plain.strengths - renamed.strengths[names]).max() < 1e-6


@settings(deadline=None)
@given(votes)
def test_which_side_is_called_a_does_not_matter(rows: Rows) -> None:
    swap = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}
    plain = fit(pair_counts(5, rows))
    swapped = fit(pair_counts(5, [(j, i, swap[outcome], count) for i, j, outcome, count in rows]))
    assert np.abs(plain.strengths - swapped.strengths).max() < 1e-6
    assert float(plain.tie) == pytest.approx(float(swapped.tie), rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(votes)
def test_swapping_wins_and_losses_negates_the_strengths(rows: Rows) -> None:
    swap = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}
    plain = fit(pair_counts(5, rows))
    mirrored = fit(pair_counts(5, [(i, j, swap[outcome], count) for i, j, outcome, count in rows]))
    assert np.abs(plain.strengths + mirrored.strengths).max() < 1e-6


@settings(deadline=None)
@given(votes)
def test_order_and_splitting_of_votes_do_not_matter(rows: Rows) -> None:
    single = [(i, j, outcome, 1) for i, j, outcome, count in rows for _ in range(int(count))]
    assert np.abs(fit(pair_counts(5, rows)).strengths - fit(pair_counts(5, single[::-1])).strengths).max() < 1e-6
