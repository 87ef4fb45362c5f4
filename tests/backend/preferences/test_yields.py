"""Thresholds tried on columns of numbers, against the direct choice condition by condition."""

import random

import pytest

from backend.catalogue.models import Split
from backend.judging.models import ComparisonKind, Outcome
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.preferences import choice, repository, scoring
from backend.preferences.schemas import PairRules
from backend.preferences.service import PairSet, preference_pairs, resolve_rules, threshold_yield
from backend.preferences.yields import YIELD_THRESHOLDS, choose, filled_in, scored_votes
from tests.backend.preferences.test_remembered import finish
from tests.backend.preferences.world import World, new_world

PAIRS = (("wl", Outcome.CHOICE), ("lw", Outcome.CHOICE), ("--", Outcome.TIE), ("ll", Outcome.BOTH_BAD))
REASONS = ([], ["scale"], ["position"], ["scale", "viewpoint"], ["other", "position", "scale"])
RULES = (
    PairRules(),
    PairRules(threshold=0.6, max_pairs_per_condition=2),
    PairRules(threshold=0.5, min_votes=2, winner_threshold=0.8, weigh_annotators=False),
    PairRules(threshold=0.55, max_pairs_per_subject=3),
    PairRules(threshold=0.55, max_pairs_per_reason=4, max_pairs_per_condition=3),
    PairRules(threshold=0.5, max_pairs_per_subject=4, max_pairs_per_reason=3, include_simulated=True),
)


def random_world(world: World, chance: random.Random, conditions: int = 8) -> None:
    """Conditions of a few subjects, some with one image twice, judged by people of whom one turns everything round."""
    for number in range(conditions):
        earlier = world.conditions[0] if world.conditions and number % 3 == 0 else None
        condition = world.condition(chance.choice((Split.TRAIN, Split.VALIDATION)))
        if earlier is not None:
            condition.subject_id = earlier.subject_id
            condition.split = earlier.split
        shown = [
            world.candidate(
                condition, world.generators[seed % 2], seed, image_seed=3 if seed < 2 and number == 1 else None
            )
            for seed in range(4)
        ]
        whole = world.comparison(shown, ComparisonKind.WIN_LOSE, "spatial_rationality")
        pair = world.comparison(shown[:2], ComparisonKind.PAIRWISE, "spatial_rationality")
        for person in world.people:
            if chance.random() < 0.8:
                reasons = {place: chance.choice(REASONS) for place in range(4)}
                best = "wwll" if person is not world.people[2] else "llww"
                marks = best if chance.random() < 0.5 else "".join(chance.choices("wl-", k=4))
                losing = {place: given for place, given in reasons.items() if marks[place] == "l"}
                world.judge(whole, person, shown, marks, reasons=losing)
            if chance.random() < 0.7:
                marks, outcome = chance.choice(PAIRS)
                world.judge(pair, person, shown[:2], marks, outcome=outcome)
    world.session.flush()


def kept(chosen: PairSet) -> set[tuple[int, int]]:
    return {(pair.win, pair.lose) for each in chosen.conditions for pair in each.pairs}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thresholds_yield_what_freezing_would(database: Database, blobs: LocalBlobs, seed: int) -> None:
    chance = random.Random(seed)
    with database.transaction() as session:
        world = new_world(session, blobs, people=5)
        random_world(world, chance)
        for rules in RULES:
            figures = threshold_yield(session, world.project, rules)
            assert figures.rules.agreement == resolve_rules(session, world.project, rules)[0].agreement
            assert figures.rules.weights == resolve_rules(session, world.project, rules)[0].weights
            scored, _ = scored_votes(session, world.project, rules)
            for threshold in (rules.threshold, *YIELD_THRESHOLDS):
                apart = rules.winner_threshold
                other = figures.rules.model_copy(
                    update={"threshold": threshold, "winner_threshold": apart or threshold}
                )
                direct = preference_pairs(session, world.project, other)
                mask = choose(filled_in(other, scored), scored)
                assert kept(direct) == set(zip(scored.win[mask].tolist(), scored.lose[mask].tolist(), strict=True))
                point = figures.chosen if threshold == rules.threshold else None
                point = point or next(one for one in figures.points if one.threshold == threshold)
                with_pairs = [each for each in direct.conditions if each.pairs]
                if point is figures.chosen:
                    pairs = [1 - pair.p_win for each in with_pairs for pair in each.pairs]
                    winners = [1 - winner.p_win for each in direct.conditions for winner in each.winners]
                    assert figures.contested_pairs == pytest.approx(sum(pairs) / max(len(pairs), 1))
                    assert figures.contested_winners == pytest.approx(sum(winners) / max(len(winners), 1))
                assert (point.pairs, point.train_pairs, point.conditions, point.subjects, point.winners) == (
                    direct.count(),
                    direct.count(Split.TRAIN),
                    len(with_pairs),
                    len({each.fact.subject_id for each in with_pairs}),
                    sum(len(each.winners) for each in direct.conditions),
                )


@pytest.mark.parametrize("seed", [1, 2])
def test_posteriors_votes_and_reasons_are_those_of_each_condition(
    database: Database, blobs: LocalBlobs, seed: int
) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs, people=5)
        random_world(world, random.Random(seed))
        rules, repeated, votes = resolve_rules(session, world.project, PairRules(threshold=0.6))
        conditions = list(scoring.scored_conditions(session, world.project, rules))
        figures = threshold_yield(session, world.project, PairRules(threshold=0.6))
        scored, _ = scored_votes(session, world.project, PairRules(threshold=0.6))
    assert (figures.repeated, figures.votes) == (repeated, votes)
    rows = zip(scored.win, scored.lose, scored.p_win, scored.number, scored.reason, strict=True)
    found = {(int(win), int(lose)): (p, int(n), scored.reasons[reason]) for win, lose, p, n, reason in rows}
    direct = {
        (pair.win, pair.lose): (pytest.approx(pair.p_win, abs=1e-12), pair.votes, each.reasons.get(pair.lose, ()))
        for each in conditions
        for pair in each.pairs
    }
    assert found == direct
    reasons: dict[str, int] = {}
    for each in choice.choose(rules, conditions):
        for pair in each.pairs:
            for reason in each.reasons.get(pair.lose, ()):
                reasons[reason] = reasons.get(reason, 0) + 1
    assert figures.reasons == reasons
    edge = sorted(
        (abs(pair.p_win - 0.6), each.fact.id) for each in conditions for pair in each.pairs if pair.p_win < 0.6
    )
    assert [pair.condition_id for pair in figures.just_out] == list(dict.fromkeys(one for _, one in edge))[:3]


def test_without_votes_nothing_is_yielded(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs)
        figures = threshold_yield(session, world.project, PairRules())
        balanced = threshold_yield(session, world.project, PairRules(max_pairs_per_subject=2))
    assert (figures.votes, figures.chosen.pairs, figures.just_in, figures.reasons) == (0, 0, [], {})
    assert balanced.chosen.winners == 0


def test_a_big_project_shows_what_was_counted_and_when(
    database: Database, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MANY", -1)
    with database.transaction() as session:
        world = new_world(session, blobs)
        random_world(world, random.Random(5), conditions=3)
    with database.reading() as session:
        first = threshold_yield(session, world.project, PairRules())
        again = threshold_yield(session, world.project, PairRules(threshold=0.6))
        assert first.as_of == again.as_of
    finish(database)
