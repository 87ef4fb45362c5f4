"""Active choice: the arithmetic against oracles, and that claims go where it points."""

import random
from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.judging import active, aiming, leases, service
from backend.judging.models import Assignment, Comparison, ComparisonKind
from backend.judging.models_serving import Matchup
from backend.judging.repository_matchups import Aim
from backend.judging.schemas import AnswerIn
from backend.kit.database import utcnow
from backend.preferences.bradley_terry import PairCounts, fit
from tests.backend.judging.world import add_annotator, build


def draw_tally(seed: int, count: int = 5, games: int = 40) -> active.Tally:
    rng = np.random.default_rng(seed)
    decided = rng.integers(1, games, (count, count)).astype(float)
    ties = np.triu(rng.integers(0, games // 2, (count, count)), 1).astype(float)
    ties = ties + ties.T
    np.fill_diagonal(decided, 0)
    return active.Tally(decided + ties / 2, ties)


def both(tally: active.Tally) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(len(tally.wins), 1)
    return first, second


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_wide_prior_gives_the_ratings_own_fit(seed):
    votes = draw_tally(seed)
    first, second = both(votes)
    decided = votes.wins - votes.ties / 2
    counts = PairCounts(
        len(decided),
        first.astype(np.int64),
        second.astype(np.int64),
        decided[first, second],
        decided[second, first],
        votes.ties[first, second],
    )
    expected = fit(counts, ties="davidson", prior=0)
    found = active.posterior(votes, spread=1e4)
    assert found.mean - found.mean.mean() == pytest.approx(expected.strengths - expected.strengths.mean(), abs=1e-5)
    assert found.tie.item() == pytest.approx(float(expected.tie), abs=1e-5)


def test_the_precision_is_the_curvature_of_the_log_posterior():
    votes = draw_tally(5, count=4)
    decided = votes.wins - votes.ties / 2
    state = active.posterior(votes)
    nu = state.tie.item()

    def log_posterior(mean):
        half = np.exp((mean[:, None] - mean[None, :]) / 2)
        total = half + 1 / half + nu
        likelihood = (decided * np.log(half / total)).sum() + (votes.ties * np.log(nu / total)).sum() / 2
        return likelihood - (mean**2).sum() / (2 * active.PRIOR_SPREAD**2)

    step, unit = 1e-3, np.eye(4)
    for i in range(4):
        for j in range(4):
            ends = [
                a * b * log_posterior(state.mean + step * (a * unit[i] + b * unit[j])) for a in (1, -1) for b in (1, -1)
            ]
            assert -sum(ends) / (4 * step**2) == pytest.approx(state.precision[i, j], abs=1e-3)


def test_the_gain_is_the_drop_of_the_weighted_variances_by_one_vote():
    state = active.posterior(draw_tally(7, count=4, games=12))
    first, second = np.triu_indices(4, 1)
    across = np.eye(4)[first] - np.eye(4)[second]

    def variances(precision):
        return np.einsum("ki,ij,kj->k", across, np.linalg.inv(precision), across)

    gap, now = across @ state.mean, variances(state.precision)
    doubt = np.exp(-active.SHARPNESS * gap**2 / now / 2) / now
    half = np.exp(gap / 2)
    total = half + 1 / half + state.tie.item()
    score_variance = (half + state.tie.item() / 4) / total - ((half + state.tie.item() / 2) / total) ** 2
    vote = 1e-6
    drops = [
        doubt @ (now - variances(state.precision + vote * score_variance[k] * np.outer(across[k], across[k]))) / vote
        for k in range(6)
    ]
    found = active.gains(state)[first, second]
    assert found / found.max() == pytest.approx(np.array(drops) / max(drops), rel=1e-3)


def test_a_question_that_is_settled_gets_less_than_an_open_one():
    wins = np.array([[0, 500, 90], [100, 0, 52], [10, 48, 0]], dtype=float)
    first, second = np.array([0, 1]), np.array([1, 2])
    settled, still_open = active.shares(active.Tally(wins, np.zeros((3, 3))), first, second)
    assert settled == 0 and still_open == pytest.approx(1)


def test_nothing_known_means_all_alike_and_so_do_ties_alone():
    first, second = np.triu_indices(4, 1)
    nothing = np.zeros((4, 4))
    assert active.shares(active.Tally(nothing, nothing), first, second) == pytest.approx(np.full(6, 1 / 6))
    tied = 10.0 * (1 - np.eye(4))
    assert active.shares(active.Tally(tied / 2, tied), first, second) == pytest.approx(np.full(6, 1 / 6))


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    size=st.integers(2, 7),
    scale=st.sampled_from([1, 30, 100_000]),
    seed=st.integers(0, 10_000),
    part=st.floats(0.0, 1.0),
)
def test_any_tally_gives_shares_that_sum_to_one_and_follow_the_names_of_generators(size, scale, seed, part):
    rng = np.random.default_rng(seed)
    decided = np.floor(rng.random((size, size)) * scale) * (rng.random((size, size)) < part)
    ties = np.triu(np.floor(rng.random((size, size)) * scale) * (rng.random((size, size)) < part / 2), 1)
    ties = ties + ties.T
    np.fill_diagonal(decided, 0)
    votes = active.Tally(decided + ties / 2, ties)
    first, second = np.triu_indices(size, 1)
    found = active.shares(votes, first, second)
    assert np.isfinite(found).all() and (found >= 0).all() and found.sum() == pytest.approx(1)
    stacked = active.Tally(np.stack([votes.wins, votes.wins.T]), np.stack([votes.ties, votes.ties]))
    assert active.posterior(stacked).mean[0] == pytest.approx(active.posterior(votes).mean, abs=1e-6)
    assert active.posterior(stacked).mean[1] == pytest.approx(-active.posterior(votes).mean, abs=1e-6)


def test_it_finds_the_order_with_far_fewer_votes_than_random_pairing():
    """Six generators, two of them close, in 200 campaigns: the pairs still in wrong order after 1,200 votes."""
    first, second = np.triu_indices(6, 1)
    truth = np.array([np.random.default_rng(s).permutation([-2.0, -1.0, -0.12, 0.12, 1.0, 2.0]) for s in range(200)])
    win = 1 / (1 + np.exp(truth[:, second] - truth[:, first]))
    rows, even = np.arange(len(truth))[:, None], np.full(win.shape, 1 / len(first))
    left = {}
    for name in ("active", "random"):
        rng, wins, none = np.random.default_rng(1), np.zeros((len(truth), 6, 6)), np.zeros((len(truth), 6, 6))
        for _ in range(24):
            aim = active.shares(active.Tally(wins, none), first, second) if name == "active" else even
            drawn = rng.multinomial(50, 0.1 * even + 0.9 * aim)
            won = rng.binomial(drawn, win)
            wins[rows, first, second] += won
            wins[rows, second, first] += drawn - won
        mean = active.posterior(active.Tally(wins, none)).mean
        wrong = np.sign(mean[:, first] - mean[:, second]) != np.sign(truth[:, first] - truth[:, second])
        left[name] = wrong.sum()

    assert left["active"] * 3 <= left["random"]


def test_votes_are_tallied_with_ties_and_both_bad_as_halves():
    votes = active.tally({7: 0, 9: 1}, [(7, 9, "a", 3), (7, 9, "b", 1), (7, 9, "tie", 2), (7, 9, "both_bad", 2)])
    assert votes.wins.tolist() == [[0, 5], [3, 0]] and votes.ties.tolist() == [[0, 4], [4, 0]]


def an_aim(number: int, propensity: float, aimed_at: datetime | None = None) -> Aim:
    return Aim(number, propensity, propensity, aimed_at or utcnow())


def test_the_recorded_propensity_is_how_often_a_matchup_is_drawn():
    aims = [an_aim(1, 0.7), an_aim(2, 0.2), an_aim(3, 0.02)]
    chance = random.Random(3)
    drawn = [aiming.draw(aims, chance) for _ in range(20_000)]
    counts = Counter(each[0].id if each else None for each in drawn)
    for number, expected in ((1, 0.7), (2, 0.2), (3, 0.02), (None, 0.08)):
        assert counts[number] / len(drawn) == pytest.approx(
            expected, abs=4 * (expected * (1 - expected) / 20_000) ** 0.5
        )
    assert all(len({aim.id for aim in each}) == len(each) for each in drawn)
    assert aiming.draw([Aim(1, 0.0, 1.0, None)], chance) == []


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
