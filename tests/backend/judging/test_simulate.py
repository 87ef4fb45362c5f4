"""Simulated annotators: through the same services, with the mistakes they were given, and marked."""

import random
from collections import Counter

import pytest
from sqlalchemy import delete, func, select

from backend.accounts.models import Person
from backend.catalogue.models import Verdict
from backend.judging import simulate
from backend.judging.models import Comparison, ComparisonKind, Judgment, JudgmentMark, Vote
from backend.judging.repository_simulation import KnownVerdict
from backend.judging.simulate import Behaviour, answer_as
from tests.backend.judging.world import build, counters_hold

RIGHT = KnownVerdict(True, (), 0.5)
WRONG = KnownVerdict(False, ("scale",), -0.5)


def run(database, world, behaviour=None, annotators=4, count=1000):
    behaviour = behaviour or Behaviour(0.0, 0.0)
    with database.transaction() as session:
        people = simulate.ensure_annotators(session, world.project, behaviour, annotators)
    with database.transaction() as session:
        return simulate.judge_batch(session, world.project, people, behaviour, count=count)


@pytest.mark.parametrize("kind", [ComparisonKind.WIN_LOSE, ComparisonKind.PAIRWISE, ComparisonKind.ARENA])
def test_without_errors_the_rational_one_always_wins(database, kind):
    world = build(database, comparisons=12, kind=kind, wanted=2, verdicts=True)
    assert run(database, world) == 24
    with database.reading() as session:
        counters_hold(session)
        assert session.scalar(select(func.count()).select_from(Vote).where(Vote.is_simulated)) == 24
        assert all(session.scalars(select(Judgment.is_simulated)))
        assert all(session.scalars(select(Person.is_simulated).where(Person.id.in_(select(Judgment.person_id)))))
        winners = set(session.scalars(select(JudgmentMark.candidate_id).where(JudgmentMark.mark == "win")))
        assert winners == {group[0] for group in world.groups}
        reasons = session.scalars(select(JudgmentMark.reasons).where(JudgmentMark.mark == "lose")).all()
        assert all(given == ["scale"] for given in reasons)
        assert set(session.scalars(select(Comparison.state))) == {"complete"}


def test_comparisons_without_verdicts_are_left_to_people(database):
    world = build(database, comparisons=5, verdicts=True)
    with database.transaction() as session:
        session.execute(delete(Verdict).where(Verdict.candidate_id == world.groups[2][1]))
        session.get(Verdict, (world.groups[3][0], "spatialworld")).rational = None
    assert run(database, world) == 3
    with database.reading() as session:
        counters_hold(session)
        open_ones = session.scalars(select(Comparison.id).where(Comparison.open_slots > 0).order_by(Comparison.id))
        assert open_ones.all() == [world.comparisons[2], world.comparisons[3]]


def test_the_same_annotators_are_found_again(database):
    world = build(database, comparisons=2, verdicts=True)
    with database.transaction() as session:
        first = simulate.ensure_annotators(session, world.project, Behaviour(0.1, 0.0), 3)
        again = simulate.ensure_annotators(session, world.project, Behaviour(0.1, 0.0), 3)
        others = simulate.ensure_annotators(session, world.project, Behaviour(0.2, 0.0), 1)
    assert [p.id for p in first] == [p.id for p in again]
    assert others[0].id not in {p.id for p in first}


def test_errors_and_side_bias_come_at_their_stated_rates():
    chance = random.Random(1)
    trials = 20_000
    wrong = sum(
        answer_as(Behaviour(0.1, 0.0), ComparisonKind.WIN_LOSE, [RIGHT, WRONG], chance).marks[0].mark == "lose"
        for _ in range(trials)
    )
    assert abs(wrong / trials - 0.1) < 0.01
    left = sum(
        answer_as(Behaviour(0.0, 0.3), ComparisonKind.PAIRWISE, [WRONG, RIGHT], chance).choice == "left"
        for _ in range(trials)
    )
    assert abs(left / trials - 0.3) < 0.015


def test_two_rational_ones_mostly_tie_and_two_irrational_ones_are_both_bad():
    chance = random.Random(2)
    better = KnownVerdict(True, (), 0.9)
    outcomes = Counter()
    for _ in range(2000):
        answer = answer_as(Behaviour(0.0, 0.0), ComparisonKind.ARENA, [better, RIGHT], chance)
        outcomes[answer.choice or answer.outcome] += 1
    assert outcomes["tie"] > 1200 and outcomes["left"] > 5 * outcomes["right"] > 0
    assert answer_as(Behaviour(0.0, 0.0), ComparisonKind.ARENA, [WRONG, WRONG], chance).outcome == "both_bad"
