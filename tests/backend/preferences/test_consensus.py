"""Consensus rules as arithmetic, and agreement against its reference implementation."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.preferences.agreement import krippendorff_alpha, pairwise_agreement
from backend.preferences.consensus import (
    CandidateMarks,
    PairVotes,
    ScoredPair,
    agreed_reasons,
    agreement_of,
    choose_pairs,
    posterior,
    prior_strength,
    score_candidate,
    score_pair,
)


def test_the_prior_reproduces_the_agreement_it_was_made_from() -> None:
    for agreement in (0.6, 0.8, 0.9):
        strength = prior_strength(agreement)
        # After one vote, the next annotator says the same with just this probability.
        assert posterior(1, 0, strength) == pytest.approx(agreement)
    assert np.isfinite(prior_strength(0.2)) and prior_strength(1.0) > 0


def test_agreement_is_learned_from_pairs_judged_twice() -> None:
    assert agreement_of([]) == (0.8, 0)
    agreement, repeated = agreement_of([PairVotes(1, 1, 2, 2, 0)] * 3000)
    assert repeated == 3000 and agreement > 0.99
    assert agreement_of([PairVotes(1, 1, 2, 1, 1)] * 3000)[0] < 0.01
    # Ties and single votes say nothing about agreement.
    assert agreement_of([PairVotes(1, 1, 2, 1, 0, ties=3)]) == (0.8, 0)


def test_scores_of_pairs() -> None:
    assert score_pair(PairVotes(1, 5, 6, 0, 0, ties=4), 0.3) is None
    assert score_pair(PairVotes(1, 5, 6, 2, 2), 0.3) is None
    assert score_pair(PairVotes(1, 5, 6, 1, 0, both_bad=1), 0.3) is None
    scored = score_pair(PairVotes(1, 5, 6, 1, 3, ties=1), 0.3)
    assert scored == ScoredPair(1, 6, 5, pytest.approx(1 - posterior(1.5, 3.5, 0.3)), 5)
    doubted = score_pair(PairVotes(1, 5, 6, 3, 0, both_bad=1), 0.3)
    assert doubted and doubted.p_win < posterior(3, 0, 0.3)
    assert score_candidate(CandidateMarks(1, 5, 3, 1), 0.5).p_win == pytest.approx(3.5 / 5)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 5), st.integers(0, 5), st.floats(0.05, 5))
def test_a_pair_does_not_care_which_candidate_is_named_first(
    a_wins: int, b_wins: int, ties: int, both_bad: int, strength: float
) -> None:
    one = score_pair(PairVotes(1, 5, 6, a_wins, b_wins, ties, both_bad), strength)
    other = score_pair(PairVotes(1, 6, 5, b_wins, a_wins, ties, both_bad), strength)
    assert (one is None) == (other is None)
    if one and other:
        assert (one.win, one.lose) == (other.win, other.lose) and one.p_win == pytest.approx(other.p_win)
        assert 0.5 <= one.p_win <= 1


def test_reasons_that_most_agree_on() -> None:
    marks = CandidateMarks(1, 5, 0, 3, {"scale": 3, "viewpoint": 1, "position": 2})
    assert agreed_reasons(marks) == ("scale", "position")
    assert agreed_reasons(None) == agreed_reasons(CandidateMarks(1, 5, 0, 3)) == ()


def test_pairs_are_clear_and_spread_over_candidates() -> None:
    pairs = [ScoredPair(1, win, lose, p, 2) for win, lose, p in [(1, 3, 0.9), (1, 4, 0.9), (2, 3, 0.9), (2, 4, 0.85)]]
    chosen = choose_pairs(pairs, threshold=0.8, min_votes=2, most=2)
    assert [(pair.win, pair.lose) for pair in chosen] == [(1, 3), (2, 4)]
    assert choose_pairs(pairs[::-1], threshold=0.8, min_votes=2, most=2) == chosen
    assert choose_pairs(pairs, threshold=0.9, min_votes=2, most=9) == pairs[:3]
    assert choose_pairs(pairs, threshold=0.8, min_votes=3, most=9) == []


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=12))
def test_alpha_equals_the_reference_implementation(counts: list[list[int]]) -> None:
    table = np.array(counts)
    ours = krippendorff_alpha(table)
    repeated = table[table.sum(axis=1) > 1]
    if ours is None:
        assert len(repeated) == 0 or (repeated.sum(axis=0) > 0).sum() == 1
        return
    theirs = krippendorff.alpha(value_counts=repeated, level_of_measurement="nominal")
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_pairwise_agreement_counts_pairs_of_annotators() -> None:
    assert pairwise_agreement([[3, 0], [1, 1], [1, 0]]) == (pytest.approx(3 / 4), 4)
    assert pairwise_agreement([[1, 0]]) == (None, 0)
    assert krippendorff_alpha(np.zeros((0, 3))) is None
