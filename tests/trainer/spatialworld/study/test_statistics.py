"""Intervals that cover, and ratings against known strengths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.spatialworld.study.statistics import ANCHOR, bradley_terry, difference, estimate, kept, ratings


def test_the_interval_of_independent_values_is_the_textbooks() -> None:
    values = np.random.default_rng(0).random((1, 400)) < 0.3
    found = estimate(values)
    half = 1.96 * math.sqrt(found.mean * (1 - found.mean) / 400)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.12)
    assert found.n == 400


def test_values_shared_by_seeds_do_not_narrow_the_interval() -> None:
    row = (np.random.default_rng(1).random(200) < 0.5).astype(float)
    one, many = estimate(row), estimate(np.tile(row, (5, 1)))
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.12)


def test_differing_seeds_widen_the_interval() -> None:
    row = (np.random.default_rng(2).random(400) < 0.5).astype(float)
    same, apart = np.tile(row, (3, 1)), np.tile(row, (3, 1)) + np.array([[-0.2], [0.0], [0.2]])
    assert estimate(apart).high - estimate(apart).low > 2 * (estimate(same).high - estimate(same).low)


def test_conditions_of_one_subject_count_as_one() -> None:
    per_subject = (np.random.default_rng(6).random(40) < 0.5).astype(float)
    subjects = [f"subject {index // 5}" for index in range(200)]
    found = estimate(np.repeat(per_subject, 5), clusters=subjects)
    alone = estimate(per_subject)
    assert found.mean == pytest.approx(alone.mean)
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.12)
    one_each = estimate(per_subject, clusters=[f"subject {index}" for index in range(40)])
    assert one_each == alone


def test_what_was_not_measured_is_left_out() -> None:
    found = estimate(np.array([[1.0, math.nan, 0.0, math.nan]]))
    assert (found.mean, found.n) == (0.5, 2)
    assert estimate(np.full((1, 3), math.nan)).n == 0


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    hardness = np.random.default_rng(3).random(300)
    first, second = (hardness > 0.5).astype(float), (hardness > 0.4).astype(float)
    found = difference(second, first)
    assert found.low > 0
    assert found.high - found.low < 0.7 * (estimate(first).high - estimate(first).low)


def test_bradley_terry_finds_the_strengths_that_made_the_votes() -> None:
    truth = np.array([0.9, 0.1, -1.0])
    chance = 1 / (1 + np.exp(truth[None] - truth[:, None]))
    wins = 10_000 * chance * (1 - np.eye(3))
    assert bradley_terry(wins) == pytest.approx(truth - truth.mean(), abs=1e-3)


def test_elo_orders_arms_by_how_often_they_are_rational() -> None:
    rng = np.random.default_rng(4)
    made = {name: (rng.random((2, 150, 2)) < share).astype(float) for name, share in (("a", 0.3), ("b", 0.6))}
    made["base"] = (rng.random((1, 150, 2)) < 0.3).astype(float)
    found = ratings(made, "base", error=0.05)
    assert found["base"].mean == ANCHOR
    assert found["b"].low > found["a"].high
    assert found["a"].low < ANCHOR < found["a"].high


def test_two_arms_elo_is_the_odds_of_winning() -> None:
    made = {"base": np.zeros((1, 100, 1)), "b": np.zeros((1, 100, 1))}
    made["b"][:, :50] = 1
    won = 75.5 / 25.5  # 50 wins and 50 ties, half a win added on both sides
    assert ratings(made, "base", error=0.0)["b"].mean == pytest.approx(ANCHOR + 400 * math.log10(won), abs=0.1)


def test_what_is_kept_is_held_against_the_same_conditions() -> None:
    rng = np.random.default_rng(7)
    whole = rng.uniform(0.5, 1.5, 300)
    whole[:150] += 3
    part = np.tile(0.8 * whole, (3, 1)) + rng.normal(0, 0.05, (3, 300))
    whole[200:], part[1, :100] = np.nan, np.nan
    found = kept(part, whole)
    assert found.mean == pytest.approx(0.8, abs=0.01)
    assert found.low < 0.8 < found.high < found.low + 0.05
    assert found.n == 500
    assert kept(part, np.full(300, np.nan)).n == 0
