"""From judgments in the database to pairs, winner groups and yields."""

import random

import pytest
from sqlalchemy import select

from backend.catalogue.models import Split
from backend.judging.models import Comparison, ComparisonKind, JudgmentMark, Outcome, Purpose
from backend.judging.models_serving import GoldAnswer
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.kit.errors import NotFound
from backend.kit.paging import PageRequest
from backend.preferences import consensus
from backend.preferences.schemas import PairRules, VoteFilter
from backend.preferences.service import condition_pairs, pairs_page, preference_pairs, threshold_yield
from backend.preferences.slices import losses_by_generator
from tests.backend.preferences.world import judged_world, new_world


def test_marks_become_pairs_winners_and_reasons(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = judged_world(session, blobs)
        chosen = preference_pairs(session, world.project, PairRules())
    assert len(chosen.conditions) == 6
    first = chosen.conditions[0]
    assert len(first.pairs) == 4 and len(first.winners) == 2
    # Two annotators agreeing, under the prior that their agreement gives.
    strength = consensus.prior_strength(chosen.rules.agreement or 0)
    assert first.pairs[0].p_win == pytest.approx((strength + 2) / (2 * strength + 2))
    assert first.winners[0].p_win == pytest.approx(first.pairs[0].p_win)
    assert {pair.votes for each in chosen.conditions for pair in each.pairs} == {2}
    losers = {pair.lose for pair in first.pairs}
    assert {candidate: first.reasons[candidate] for candidate in losers} == dict.fromkeys(
        losers, ("scale", "viewpoint")
    )
    assert chosen.count(Split.TRAIN) + chosen.count(Split.VALIDATION) == chosen.count()


def test_simulated_annotators_count_only_when_asked_or_in_the_demo(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = judged_world(session, blobs)
        people = preference_pairs(session, world.project, PairRules())
        everybody = preference_pairs(session, world.project, PairRules(include_simulated=True))
        world.project.is_demo = True
        demo = preference_pairs(session, world.project, PairRules())
    assert people.conditions[0].pairs[0].votes == 2
    assert everybody.conditions[0].pairs[0].votes == demo.conditions[0].pairs[0].votes == 3
    assert demo.rules.include_simulated is True


def test_both_bad_ties_and_balance_never_become_pairs(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs)
        alice, bob, *_ = world.people
        for outcomes in (
            [(Outcome.BOTH_BAD, "ll")],
            [(Outcome.TIE, "--")],
            [(Outcome.CHOICE, "wl"), (Outcome.CHOICE, "lw")],
            [(Outcome.CHOICE, "wl"), (Outcome.BOTH_BAD, "ll")],
        ):
            condition = world.condition(Split.TRAIN)
            shown = [world.candidate(condition, generator, 0) for generator in world.generators]
            comparison = world.comparison(shown, ComparisonKind.PAIRWISE, "spatial_rationality")
            for person, (outcome, marks) in zip((alice, bob), outcomes, strict=False):
                world.judge(comparison, person, shown, marks, outcome=outcome)
        chosen = preference_pairs(session, world.project, PairRules(threshold=0.5))
    assert chosen.count() == 0


def test_identical_images_and_other_criteria_are_no_pairs(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs)
        for criterion, image_seed in (("spatial_rationality", 7), ("text_alignment", None)):
            condition = world.condition(Split.TRAIN)
            shown = [world.candidate(condition, one, 0, image_seed=image_seed) for one in world.generators]
            comparison = world.comparison(shown, ComparisonKind.PAIRWISE, criterion)
            world.judge(comparison, world.people[0], shown, "wl", outcome=Outcome.CHOICE)
        assert preference_pairs(session, world.project, PairRules()).count() == 0
        assert preference_pairs(session, world.project, PairRules(criterion="text_alignment")).count() == 1


def test_subjects_are_balanced_in_turns(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = judged_world(session, blobs, train=3, validation=1)
        # All training conditions are of one subject now.
        for condition in world.conditions[1:3]:
            condition.subject_id = world.conditions[0].subject_id
        session.flush()
        chosen = preference_pairs(session, world.project, PairRules(max_pairs_per_subject=4))
        figures = threshold_yield(session, world.project, PairRules(max_pairs_per_subject=4))
    assert chosen.count(Split.TRAIN) == 4
    assert sorted(len(each.pairs) for each in chosen.conditions if each.fact.split == Split.TRAIN) == [1, 1, 2]
    assert figures.chosen.train_pairs == 4


def test_yield_tells_what_freezing_would_give(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = judged_world(session, blobs)
        for threshold in (0.6, 0.75, 0.97):
            rules = PairRules(threshold=threshold, max_pairs_per_condition=3)
            chosen = preference_pairs(session, world.project, rules)
            figures = threshold_yield(session, world.project, rules)
            assert figures.chosen.pairs == chosen.count()
            assert figures.chosen.train_pairs == chosen.count(Split.TRAIN)
            assert figures.chosen.winners == sum(len(each.winners) for each in chosen.conditions)
    counts = [point.pairs for point in figures.points]
    assert counts == sorted(counts, reverse=True) and counts[0] > 0 and counts[-1] == 0


def test_pairs_come_in_pages_of_conditions(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = judged_world(session, blobs)
        whole = preference_pairs(session, world.project, PairRules())
        seen, after = [], None
        while True:
            page = pairs_page(session, world.project, PairRules(), PageRequest(limit=2, after=after))
            seen += [(item.win_candidate_id, item.lose_candidate_id) for item in page.items]
            if page.next_cursor is None:
                break
            after = page.items[-1].condition_id
    assert seen == [(pair.win, pair.lose) for each in whole.conditions for pair in each.pairs]


def test_who_guesses_moves_no_pair(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs, people=5)
        *careful, guesser = world.people[:4]
        chance = random.Random(0)
        for _ in range(40):
            condition = world.condition(Split.TRAIN)
            shown = [world.candidate(condition, generator, 0) for generator in world.generators]
            comparison = world.comparison(shown, ComparisonKind.PAIRWISE, "spatial_rationality")
            truth = chance.choice(["wl", "lw"])
            for person in careful:
                world.judge(comparison, person, shown, truth, outcome=Outcome.CHOICE)
            world.judge(comparison, guesser, shown, chance.choice(["wl", "lw"]), outcome=Outcome.CHOICE)
        weighed = preference_pairs(session, world.project, PairRules(min_votes=3))
        alike = preference_pairs(session, world.project, PairRules(threshold=0.5, min_votes=3, weigh_annotators=False))
        again = preference_pairs(session, world.project, weighed.rules)
    assert list(weighed.rules.weights or {}) == [str(guesser.id)] and weighed.rules.weights[str(guesser.id)] < 0.5
    assert alike.rules.weights == {} and again == weighed
    assert (weighed.rules.agreement or 0) > (alike.rules.agreement or 0) + 0.05
    lowest = {each.fact.id: min(pair.p_win for pair in each.pairs) for each in alike.conditions}
    for each in weighed.conditions:
        (pair,) = each.pairs
        assert pair.votes == 3 and pair.p_win > lowest[each.fact.id]


def test_reasons_are_balanced(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs)
        for number in range(8):
            condition = world.condition(Split.TRAIN if number < 6 else Split.VALIDATION)
            shown = [world.candidate(condition, generator, 0) for generator in world.generators]
            comparison = world.comparison(shown, ComparisonKind.PAIRWISE, "spatial_rationality")
            reasons = {1: [["scale"], ["scale", "position"], ["scale"], ["position"], [], ["scale"]][number % 6]}
            world.judge(comparison, world.people[0], shown, "wl", outcome=Outcome.CHOICE, reasons=reasons)
        rules = PairRules(max_pairs_per_reason=1)
        chosen = preference_pairs(session, world.project, rules)
        figures = threshold_yield(session, world.project, rules)
    kept = [(each.fact.split, each.main_reason(each.pairs[0])) for each in chosen.conditions if each.pairs]
    assert sorted(kept, key=lambda row: (row[0], str(row[1] or "~"))) == [
        (Split.TRAIN, "position"),
        (Split.TRAIN, "scale"),
        (Split.TRAIN, None),
        (Split.VALIDATION, "position"),
        (Split.VALIDATION, "scale"),
    ]
    assert figures.chosen.pairs == 5 and figures.chosen.conditions == 5


def test_every_pair_of_a_condition_says_why_it_is_kept_or_not(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs)
        condition = world.condition(Split.TRAIN)
        one, two, same, other = (
            world.candidate(condition, world.generators[0], seed, image_seed=image)
            for seed, image in enumerate((1, 2, 2, 3))
        )
        said = [
            (one, two, "wl", Outcome.CHOICE),
            (two, same, "wl", Outcome.CHOICE),
            (one, other, "ll", Outcome.BOTH_BAD),
            (two, other, "--", Outcome.TIE),
        ]
        for left, right, marks, outcome in said:
            comparison = world.comparison([left, right], ComparisonKind.PAIRWISE, "spatial_rationality")
            world.judge(comparison, world.people[0], [left, right], marks, outcome=outcome)
        found = condition_pairs(session, world.project, PairRules(), condition.id)
        strict = condition_pairs(session, world.project, PairRules(threshold=0.9, min_votes=2), condition.id)
        with pytest.raises(NotFound):
            condition_pairs(session, world.project, PairRules(), condition.id + 1)
    pairs = {(pair.candidate_a, pair.candidate_b): pair for pair in found.pairs}
    assert len(pairs) == 6 and list(found.candidates) == [one.id, two.id, same.id, other.id]
    assert pairs[one.id, two.id].reason_out is None and pairs[one.id, two.id].p_a == pytest.approx(0.8)
    assert pairs[two.id, same.id].reason_out == "the two images are the same"
    assert pairs[one.id, other.id].reason_out == "at least as many called both bad as decided"
    assert pairs[two.id, other.id].reason_out == "nobody decided between them"
    assert pairs[one.id, same.id].p_a == 0.5 and pairs[one.id, same.id].votes == 0
    assert {pair.reason_out for pair in strict.pairs} >= {"1 of the 2 votes needed weigh half a vote or more"}


def test_gold_and_repeated_items_make_no_pairs_and_no_reasons(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = new_world(session, blobs)
        for purpose in (Purpose.GOLD, Purpose.REPEAT, Purpose.SET_ASIDE):
            condition = world.condition(Split.TRAIN)
            shown = [world.candidate(condition, world.generators[0], seed) for seed in range(3)]
            comparison = world.comparison(shown, ComparisonKind.WIN_LOSE, "spatial_rationality")
            # Only regular answers vote, so an answer for another purpose leaves nothing but its marks.
            judgment = world.judge(comparison, world.people[0], shown, "---", reasons={})
            judgment.purpose = purpose
            for mark in session.scalars(select(JudgmentMark).where(JudgmentMark.judgment_id == judgment.id)):
                mark.mark, mark.reasons = ("win", []) if mark.shown_position == 0 else ("lose", ["scale"])
        session.flush()
        chosen = preference_pairs(session, world.project, PairRules(threshold=0.5))
        losses, _ = losses_by_generator(session, world.project, VoteFilter())
    assert chosen.conditions == [] and losses == []


def test_a_pair_whose_answer_is_known_is_none_to_learn_from(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = judged_world(session, blobs)
        before = preference_pairs(session, world.project, PairRules())
        comparison = session.scalars(select(Comparison).order_by(Comparison.id)).first()
        assert comparison is not None
        # Its regular answers were given before a lead made it a gold item.
        session.add(GoldAnswer(comparison_id=comparison.id, project_id=world.project.id, expected={}))
        session.flush()
        after = preference_pairs(session, world.project, PairRules())
        found = condition_pairs(session, world.project, PairRules(), comparison.condition_id)
    gold = {each.fact.id for each in before.conditions} - {each.fact.id for each in after.conditions}
    assert gold == {comparison.condition_id}
    assert {pair.reason_out for pair in found.pairs} == {"it is a gold item"}


def test_the_edge_of_the_threshold_is_shown(database: Database, blobs: LocalBlobs) -> None:
    with database.transaction() as session:
        world = judged_world(session, blobs)
        figures = threshold_yield(session, world.project, PairRules(threshold=0.75))
        none = threshold_yield(session, world.project, PairRules(threshold=1))
    assert figures.just_in and all(pair.p_win >= 0.75 for pair in figures.just_in)
    assert none.just_in == [] and len(none.just_out) == 3
