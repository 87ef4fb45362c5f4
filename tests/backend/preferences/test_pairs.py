"""From judgments in the database to pairs, winner groups and yields."""

import pytest

from backend.catalogue.models import Split
from backend.judging.models import ComparisonKind, Outcome
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.kit.paging import PageRequest
from backend.preferences import consensus
from backend.preferences.schemas import PairRules
from backend.preferences.service import pairs_page, preference_pairs, threshold_yield
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
