"""Reliability and κ against other implementations, and spammers found among honest annotators."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.preferences.agreement import meetings
from backend.preferences.annotators import Doubt, assess
from backend.preferences.reliability import ASSUMED, reliability, weights
from bench.spammers import KINDS, simulate


def simulated_votes(
    accuracy: np.ndarray, units: int, each: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(annotators, units, whether they prefer the first) of `each` annotators a unit."""
    rng = np.random.default_rng(seed)
    who = np.concatenate([rng.permutation(len(accuracy))[:each] for _ in range(units)])
    unit = np.repeat(np.arange(units), each)
    truth = rng.random(units) < 0.5
    right = rng.random(len(who)) < accuracy[who]
    return who, unit, np.where(right, truth[unit], ~truth[unit])


# The peer's own use of what pandas will drop.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_reliability_equals_the_one_coin_model_of_crowd_kit() -> None:
    from crowdkit.aggregation import OneCoinDawidSkene

    who, unit, first = simulated_votes(np.array([0.9, 0.85, 0.8, 0.8, 0.6, 0.5]), 150, 4, 0)
    # Every unit twice, once with its sides swapped, so that its share of each label is one half, as ours takes it.
    votes = pd.DataFrame(
        {
            "task": np.concatenate([unit, unit + 150]),
            "worker": np.concatenate([who, who]),
            "label": np.concatenate([first, ~first]).astype(int),
        }
    )
    theirs = OneCoinDawidSkene(n_iter=60, tol=0).fit(votes).skills_.sort_index().to_numpy()
    ours = reliability(who, unit, first, 6, assumed_votes=0)
    assert np.abs(ours.coin - theirs).max() < 1e-6


def test_reliability_is_found_without_knowing_the_truth() -> None:
    accuracy = np.array([0.95, 0.85, 0.85, 0.75, 0.5, 0.1])
    who, unit, first = simulated_votes(accuracy, 2000, 4, 3)
    found = reliability(who, unit, first, 6)
    assert np.abs(found.value - accuracy).max() < 0.05
    weight = weights(found.value, found.votes)
    assert weight[0] == 1 and weight[4] < 0.2 and weight[5] == 0


def test_nothing_shared_says_nothing() -> None:
    found = reliability([0, 1, 1], [0, 1, 1], [True, True, False], 3)
    assert found.value == pytest.approx(ASSUMED) and found.votes.sum() == 0
    assert weights(found.value, found.votes) == pytest.approx(1)
    assert len(reliability([], [], [], 0).value) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=40))
def test_which_candidate_is_named_first_does_not_matter(votes: list[tuple[int, int, bool]]) -> None:
    who, unit, first = (np.array([vote[k] for vote in votes], dtype=int) for k in range(3))
    plain = reliability(who, unit, first.astype(bool), 4)
    swapped = reliability(who, unit, ~first.astype(bool), 4)
    assert plain.value == pytest.approx(swapped.value, abs=1e-6)
    assert np.all((plain.value > 0) & (plain.value < 1))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 2)), max_size=60))
def test_kappa_equals_scikit_learn(votes: list[tuple[int, int, int]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    once = {(who, unit): said for who, unit, said in votes}
    who, unit = (np.array([key[k] for key in once], dtype=int) for k in range(2))
    met = meetings(who, unit, np.array(list(once.values()), dtype=int), 3, 3)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        both = [(once[one, u], once[other, u]) for u in range(10) if (one, u) in once and (other, u) in once]
        assert met.compared[one, other] == met.compared[other, one] == len(both)
        if len({value for pair in both for value in pair}) > 1:
            assert met.kappa()[one, other] == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
        elif both:
            assert np.isnan(met.kappa()[one, other])


def test_spammers_are_found_and_honest_annotators_are_not() -> None:
    found = wrong = 0
    for seed in range(3):
        answers, kinds = simulate(honest=12, spammers=4, units=400, each=3, seed=seed)
        assessments, _ = assess(answers)
        for kind, one in zip(kinds, assessments, strict=True):
            found += bool(kind and one.doubts)
            wrong += bool(not kind and one.doubts)
    assert found >= 11 and wrong <= 1
    assert {doubt for one in assessments for doubt in one.doubts} <= set(Doubt) and set(kinds) - {None} <= set(KINDS)


def test_a_single_careful_annotator_is_not_doubted() -> None:
    answers, kinds = simulate(honest=1, spammers=0, units=50, each=1, seed=0)
    (only,), _ = assess(answers)
    assert kinds == [None] and only.doubts == () and only.weight == 1 and only.agreement.value is None
