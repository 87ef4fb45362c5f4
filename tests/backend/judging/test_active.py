"""Active choice: the arithmetic against oracles, and that claims go where it points."""

import random
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import select

from backend.judging import active, aiming, leases, service
from backend.judging.models import Assignment, Comparison, ComparisonKind
from backend.judging.models_serving import Matchup
from backend.judging.schemas import AnswerIn
from backend.kit.database import utcnow
from backend.preferences.bradley_terry import PairCounts, fit
from tests.backend.judging.world import add_annotator, build


def draw_wins(seed: int, count: int = 5, games: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, games, (count, count)).astype(float)
    np.fill_diagonal(wins, 0)
    return wins


def test_a_wide_prior_gives_the_ratings_own_fit():
    wins = draw_wins(3)
    first, second = np.triu_indices(len(wins), 1)
    counts = PairCounts(
        len(wins), first.astype(np.int64), second.astype(np.int64), wins[first, second], wins[second, first], 0 * first
    )
    expected = fit(counts, ties="half", prior=0).strengths
    found = active.posterior(wins, spread=1e4).mean
    assert found - found.mean() == pytest.approx(expected - expected.mean(), abs=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gain_is_the_mutual_information_of_draws_from_the_posterior(seed):
    wins = draw_wins(seed, games=3 + 6 * seed)
    state = active.posterior(wins)
    first, second = np.array([0, 0, 1]), np.array([1, 4, 3])
    drawn = np.random.default_rng(9).multivariate_normal(state.mean, state.covariance, 400_000)
    gap = drawn[:, first] - drawn[:, second]
    win, ahead = 1 / (1 + np.exp(-gap)), gap > 0

    def entropy(p):
        return -(p * np.log(p) + (1 - p) * np.log(1 - p))

    for k, gain in enumerate(active.information_gain(state, first, second)):
        p, up = win[:, k], ahead[:, k]
        expected = entropy(p.mean()) - up.mean() * entropy(p[up].mean()) - (1 - up.mean()) * entropy(p[~up].mean())
        assert gain == pytest.approx(expected, abs=0.004)


def test_a_question_that_is_settled_gets_less_than_an_open_one():
    wins = np.array([[0, 500, 90], [100, 0, 52], [10, 48, 0]], dtype=float)
    first, second = np.array([0, 1]), np.array([1, 2])
    settled, still_open = active.shares(wins, first, second)
    assert settled < 0.01 and settled + still_open == pytest.approx(1)


def test_nothing_known_means_all_alike():
    assert active.shares(np.zeros((4, 4)), *np.triu_indices(4, 1)) == pytest.approx(np.full(6, 1 / 6))


def test_votes_are_tallied_with_ties_and_both_bad_as_halves():
    wins = active.tally({7: 0, 9: 1}, [(7, 9, "a", 3), (7, 9, "b", 1), (7, 9, "tie", 2), (7, 9, "both_bad", 2)])
    assert wins.tolist() == [[0, 5], [3, 0]]


def arena(database, settings):
    """Three generators, ten comparisons of each two."""
    world = build(database, comparisons=10, k=3, kind=ComparisonKind.WIN_LOSE, settings=settings)
    with database.transaction() as session:
        pairs = [[group[a], group[b]] for group in world.groups for a, b in ((0, 1), (0, 2), (1, 2))]
        service.make_comparisons(
            session,
            world.project,
            kind="arena",
            criterion="spatial_rationality",
            candidate_groups=pairs,
            wanted=1,
            priority=1,
        )
    return world


def test_claims_go_where_the_votes_leave_a_question_open(database):
    world = arena(database, {"choice": "active", "random_share": 0.1})
    people = [add_annotator(database, world) for _ in range(12)]
    settings = leases.judging_settings(world.project)
    with database.transaction() as session:
        matchups = {(m.generator_a, m.generator_b): m.id for m in session.scalars(select(Matchup))}
        assert len(matchups) == 3
        assert aiming.aim(session, world.project, settings) == 3
        shares = [m.share for m in session.scalars(select(Matchup))]
        assert sum(shares) == pytest.approx(1) and max(shares) == pytest.approx(min(shares))
    goal = matchups[(world.generators[1], world.generators[2])]
    with database.transaction() as session:
        for matchup in session.scalars(select(Matchup)):
            matchup.share = 0.96 if matchup.id == goal else 0.02
            matchup.propensity = 0.9 if matchup.id == goal else 0.05
    chance = random.Random(5)
    with database.transaction() as session:
        for person in people[:8]:
            service.claim(session, world.project, person, count=1, lease_seconds=60, chance=chance)
    with database.reading() as session:
        query = select(Comparison.matchup_id, Assignment.propensity).join(
            Assignment, Assignment.comparison_id == Comparison.id
        )
        rows = session.execute(query).all()
    aimed = [row for row in rows if row.matchup_id == goal]
    assert len(rows) == 8 and len(aimed) >= 6
    assert {round(row.propensity, 2) for row in aimed} <= {0.9, 1.0}


def test_looking_at_the_votes_moves_the_aim_and_is_asked_for_in_time(database):
    world = arena(database, {"choice": "active"})
    ann = add_annotator(database, world)
    with database.transaction() as session:
        claimed = service.claim(session, world.project, ann, count=5, lease_seconds=600)
        assert claimed.needs_aim
        for row in claimed.rows:
            service.submit(session, ann, row.assignment.id, f"key-{row.assignment.id}", AnswerIn(outcome="tie"))
    now = utcnow()
    settings = leases.judging_settings(world.project)
    with database.transaction() as session:
        aiming.aim(session, world.project, settings, now)
        rows = list(session.scalars(select(Matchup)))
        assert sum(row.share for row in rows) == pytest.approx(1)
        assert all(0 < row.propensity <= 1 for row in rows)
        again = service.claim(session, world.project, ann, count=1, lease_seconds=600, now=now)
        assert not again.needs_aim
        held = [again.rows[0].assignment.id]
        then = now + timedelta(seconds=20)
        later = service.claim(session, world.project, ann, count=1, lease_seconds=600, now=then, holding=held)
        assert later.needs_aim


def test_random_choice_looks_at_no_votes(database):
    world = arena(database, {})
    ann = add_annotator(database, world)
    with database.transaction() as session:
        assert not service.claim(session, world.project, ann, count=1, lease_seconds=60).needs_aim
