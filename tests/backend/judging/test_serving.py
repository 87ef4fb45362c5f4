"""What is served to whom: known answers, repeats, attention checks, quotas, extra judgments, work judged anew."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from threading import Barrier

import pytest
from sqlalchemy import func, select

from backend.catalogue.service import remove_member
from backend.judging import overlap, repository_leases, service, supervision
from backend.judging.models import Assignment, Comparison, Judgment, Purpose, Vote
from backend.judging.models_serving import GoldAnswer, Standing
from backend.judging.repository import LIVE
from backend.judging.schemas import AnswerIn
from backend.kit.database import utcnow
from backend.kit.errors import Invalid, NotFound
from tests.backend.judging.world import add_annotator, build, counters_hold
from tests.people import add_person

TIE = AnswerIn(outcome="tie")


def choose(side: str) -> AnswerIn:
    return AnswerIn(outcome="choice", choice=side)


def claim(database, world, person, count=1, **more):
    with database.transaction() as session:
        claimed = service.claim(session, world.project, person, count=count, lease_seconds=60, **more)
    return claimed


def answer(database, person, assignment, given=TIE):
    with database.transaction() as session:
        return service.submit(session, person, assignment, f"key-{assignment}", given)[0]


def renew(database, person, assignment):
    with database.transaction() as session:
        return service.renew(session, person, assignment, lease_seconds=60)


def winning_side(database, row) -> str:
    """Where the first entry stands, the rational one of `build(verdicts=True)`."""
    return "left" if row.assignment.shown_order[0] == 0 else "right"


def check(database) -> None:
    with database.reading() as session:
        counters_hold(session)


def gold_world(database, *, gold: int, settings: dict, comparisons: int = 12):
    world = build(database, comparisons=comparisons, verdicts=True, settings=settings)
    lead = add_person(database, "lead")
    with database.transaction() as session:
        assert supervision.make_gold_of_verdicts(session, lead, world.project, gold) == gold
    return world, lead


def test_known_answers_are_met_once_take_no_slot_and_make_no_vote(database):
    world, _ = gold_world(database, gold=3, settings={"gold_rate": 1.0})
    ann = add_annotator(database, world)
    purposes = []
    for _ in range(12):
        (row,) = claim(database, world, ann, chance=random.Random(1)).rows
        purposes.append(row.assignment.purpose)
        side = winning_side(database, row)
        answer(database, ann, row.assignment.id, choose(side))
    assert purposes.count("gold") == 3 and purposes[:3] == ["gold"] * 3
    assert claim(database, world, ann).state == "finished"
    check(database)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Vote)) == 9
        assert list(session.scalars(select(Judgment.agrees).where(Judgment.purpose == Purpose.GOLD))) == [True] * 3
        assert session.scalar(select(func.count()).where(Comparison.state == "withdrawn")) == 3


def test_nothing_is_mixed_in_once_the_ordinary_work_is_done(database):
    world, _ = gold_world(database, gold=11, settings={"gold_rate": 1.0})
    ann = add_annotator(database, world)
    (row,) = claim(database, world, ann, chance=random.Random(1)).rows
    assert row.assignment.purpose == "gold"
    with database.transaction() as session:
        session.get(Comparison, world.comparisons[0]).open_slots = 0
        session.get(Comparison, world.comparisons[0]).wanted = 0
    answer(database, ann, row.assignment.id)
    assert claim(database, world, ann).rows == []


def test_an_attention_check_pauses_with_words_and_a_lead_lets_go_on(database):
    settings = {"gold_rate": 1.0, "gold_pass_percent": 70, "gold_minimum": 3}
    world, lead = gold_world(database, gold=8, settings=settings)
    ann = add_annotator(database, world)
    for wrong in (False, True, True):
        (row,) = claim(database, world, ann).rows
        side = winning_side(database, row)
        answer(database, ann, row.assignment.id, choose({"left": "right", "right": "left"}[side] if wrong else side))
    paused = claim(database, world, ann)
    assert (paused.state, paused.rows) == ("paused", [])
    assert "2 of your last 3 answers" in paused.reason
    with database.transaction() as session:
        supervision.resume(session, lead, world.project, ann.id)
    (row,) = claim(database, world, ann).rows
    answer(database, ann, row.assignment.id, TIE)
    assert claim(database, world, ann).state == "ready"
    check(database)


def test_changing_an_answer_changes_whether_it_was_right(database):
    world, _ = gold_world(database, gold=2, settings={"gold_rate": 1.0})
    ann = add_annotator(database, world)
    (row,) = claim(database, world, ann).rows
    judgment = answer(database, ann, row.assignment.id, TIE)
    assert judgment.agrees is False
    with database.transaction() as session:
        changed = service.revise(session, ann, choose(winning_side(database, row)), assignment_id=row.assignment.id)
        assert changed.agrees is True
    with database.transaction() as session:
        skip = AnswerIn(outcome="skip", skip_reason="cannot_tell")
        assert service.revise(session, ann, skip, assignment_id=row.assignment.id).agrees is None
        standing = session.get(Standing, (world.project.id, ann.id))
        assert (standing.gold_seen, standing.gold_right, standing.done, standing.skipped) == (0, 0, 0, 1)
    check(database)


def test_repeats_come_after_a_while_and_say_whether_people_agree_with_themselves(database):
    world = build(database, comparisons=14, settings={"repeat_rate": 1.0})
    ann = add_annotator(database, world)
    said = {}
    for _ in range(11):
        (row,) = claim(database, world, ann).rows
        given = TIE if row.assignment.purpose == "regular" or row.comparison_id % 2 else choose("left")
        judgment = answer(database, ann, row.assignment.id, given)
        said.setdefault(row.comparison_id, []).append((row.assignment.purpose, given.outcome, judgment.agrees))
    repeated = {key: rows for key, rows in said.items() if len(rows) > 1}
    assert len(repeated) == 2
    for comparison, (first, second) in repeated.items():
        assert first == ("regular", "tie", None)
        assert second[0] == "repeat" and second[2] is (comparison % 2 == 1)
    check(database)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Vote)) == 9


@pytest.mark.parametrize(
    ("opinions", "expected"),
    [
        ([], 1.0),
        ([["win", "x"], ["win", "x"]], 1.0),
        ([["win", "choice lose"], ["choice lose", "win"]], 0.5),
        ([["win", "a"], ["win", "b"], ["c", "b"]], 2 / 3),
    ],
)
def test_agreement_is_the_share_of_the_leading_opinion(opinions, expected):
    assert overlap.agreement(opinions) == pytest.approx(expected)


def test_more_is_asked_where_people_disagree_up_to_the_cap(database):
    world = build(
        database, comparisons=1, wanted=2, settings={"most_judgments_per_comparison": 4, "agreement_wanted": 0.75}
    )
    wanted = []
    for given in ("win", "lose", "win", "lose"):
        person = add_annotator(database, world)
        (row,) = claim(database, world, person).rows
        side = winning_side(database, row)
        answer(
            database,
            person,
            row.assignment.id,
            choose(side if given == "win" else {"left": "right", "right": "left"}[side]),
        )
        check(database)
        with database.reading() as session:
            comparison = session.get(Comparison, world.comparisons[0])
            wanted.append((comparison.wanted, comparison.state))
    assert wanted == [(2, "open"), (3, "open"), (4, "open"), (4, "complete")]


def test_agreement_asks_for_no_more(database):
    world = build(database, comparisons=1, wanted=2, settings={"most_judgments_per_comparison": 5})
    for _ in range(2):
        person = add_annotator(database, world)
        (row,) = claim(database, world, person).rows
        answer(database, person, row.assignment.id, choose(winning_side(database, row)))
    with database.reading() as session:
        assert session.get(Comparison, world.comparisons[0]).state == "complete"


def test_a_quota_holds_in_many_windows_at_once(database):
    world = build(database, comparisons=20, settings={"quota": 4})
    ann = add_annotator(database, world)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: claim(database, world, ann, 3, holding=[0]), range(6)))
    with database.reading() as session:
        held = list(session.scalars(select(Assignment.id)))
    held += [row.assignment.id for row in claim(database, world, ann, 5, holding=held).rows]
    assert len(held) == 4
    for assignment in held:
        answer(database, ann, assignment)
    over = claim(database, world, ann)
    assert over.state == "finished" and "4 comparisons" in over.reason
    lead = add_person(database, "lead")
    with database.transaction() as session:
        supervision.set_quota(session, lead, world.project, ann.id, 5)
    assert len(claim(database, world, ann, 3).rows) == 1
    check(database)


def test_work_judged_anew_leaves_no_vote_and_goes_to_others(database):
    world = build(database, comparisons=3)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    lead = add_person(database, "lead")
    rows = claim(database, world, ann, 2).rows
    for row in rows:
        answer(database, ann, row.assignment.id, choose("left"))
    claim(database, world, ann, 1)
    with database.transaction() as session:
        assert supervision.requeue(session, lead, world.project, ann.id) == 2
    check(database)
    with database.reading() as session:
        assert session.scalar(select(Vote.id)) is None
        assert set(session.scalars(select(Judgment.purpose))) == {"set_aside"}
    assert {row.comparison_id for row in claim(database, world, ann, 5).rows}.isdisjoint(
        row.comparison_id for row in rows
    )
    with database.transaction() as session:
        supervision.pause(session, lead, world.project, ann.id, "Please call me.")
    assert claim(database, world, ann).reason == "Please call me."
    assert len(claim(database, world, ben, 5).rows) == 3
    check(database)


def _put_back(database, world, person, comparisons: int = 2) -> list[int]:
    """Assignments of the person that ended without an answer: the first by time, the others given back."""
    ids = [row.assignment.id for row in claim(database, world, person, comparisons).rows]
    with database.transaction() as session:
        for assignment in ids[1:]:
            service.release(session, person, assignment)
    with database.transaction() as session:
        service.expire(session, now=utcnow() + timedelta(minutes=2))
    return ids


def _takes_nothing_up(database, person, assignments) -> bool:
    for act in (answer, renew):
        for assignment in assignments:
            with pytest.raises(service.LeaseLost):
                act(database, person, assignment)
    check(database)
    with database.reading() as session:
        return session.scalar(select(Vote.id).where(Vote.person_id == person.id)) is None


def test_who_is_paused_takes_nothing_up_again_until_they_may_go_on(database):
    world = build(database, comparisons=8, wanted=2)
    ann, ben, lead = add_annotator(database, world), add_annotator(database, world), add_person(database, "lead")
    late = _put_back(database, world, ben)
    *ended, skipped, held = _put_back(database, world, ann, 4)
    answer(database, ann, skipped, AnswerIn(outcome="skip", skip_reason="cannot_tell"))
    renew(database, ann, held)
    with database.transaction() as session:
        supervision.pause(session, lead, world.project, ann.id, "Please call me.")
    assert _takes_nothing_up(database, ann, [*ended, held])
    assert claim(database, world, ann, holding=ended).lost == ended
    with pytest.raises(service.LeaseLost), database.transaction() as session:
        service.revise(session, ann, TIE, assignment_id=skipped)
    for assignment in late:
        answer(database, ben, assignment)
    with database.transaction() as session:
        supervision.resume(session, lead, world.project, ann.id)
    for assignment in ended:
        answer(database, ann, assignment)
    check(database)
    with database.reading() as session:
        assert sorted(session.scalars(select(Vote.person_id))) == sorted([ann.id, ann.id, ben.id, ben.id])


def test_who_failed_the_attention_check_takes_nothing_up_again(database):
    settings = {"gold_rate": 1.0, "gold_pass_percent": 70, "gold_minimum": 1}
    world, _ = gold_world(database, gold=1, settings=settings)
    ann = add_annotator(database, world)
    gold, *others = claim(database, world, ann, 3).rows
    assert [row.assignment.purpose for row in others] == ["regular", "regular"]
    answer(database, ann, gold.assignment.id, TIE)
    with database.transaction() as session:
        service.expire(session, now=utcnow() + timedelta(minutes=2))
    assert _takes_nothing_up(database, ann, [row.assignment.id for row in others])


def test_who_left_the_project_takes_nothing_up_again_and_an_admin_needs_not_be_in_it(database):
    world = build(database, comparisons=8)
    ann, lead = add_annotator(database, world), add_person(database, "lead")
    admin = add_person(database, "admin")
    ended, of_admin = _put_back(database, world, ann), _put_back(database, world, admin)
    with database.transaction() as session:
        remove_member(session, lead, world.project, ann.id)
    assert _takes_nothing_up(database, ann, ended)
    for assignment in of_admin:
        answer(database, admin, assignment)
    check(database)


def test_priorities_go_first(database):
    world = build(database, comparisons=5)
    lead, ann = add_person(database, "lead"), add_annotator(database, world)
    with database.transaction() as session:
        assert supervision.set_priority(session, lead, world.project, 3, generator=world.generators[0]) == 5
        assert supervision.set_priority(session, lead, world.project, -1, kind="arena") == 0
    assert len(claim(database, world, ann, 2).rows) == 2


def test_a_lead_s_judgment_becomes_the_known_answer_whatever_the_order_shown(database):
    world = build(database, comparisons=3, wanted=2, settings={"gold_rate": 1.0})
    lead, ann = add_annotator(database, world), add_annotator(database, world)
    (row,) = claim(database, world, lead).rows
    judgment = answer(database, lead, row.assignment.id, choose(winning_side(database, row)))
    with database.transaction() as session:
        supervision.make_gold(session, lead, world.project, judgment.id, "The car floats.")
        marks = session.get(GoldAnswer, row.comparison_id).expected["marks"]
        assert [mark["mark"] for mark in marks] == ["win", "lose"]
        with pytest.raises(NotFound):
            supervision.make_gold(session, ann, world.project, judgment.id, "")
    (gold,) = claim(database, world, ann).rows
    assert (gold.comparison_id, gold.assignment.purpose) == (row.comparison_id, "gold")
    assert answer(database, ann, gold.assignment.id, choose(winning_side(database, gold))).agrees is True
    check(database)


def test_without_verdicts_there_is_nothing_to_be_known(database):
    world = build(database, comparisons=2)
    lead = add_person(database, "lead")
    with pytest.raises(Invalid, match="judge some yourself"), database.transaction() as session:
        supervision.make_gold_of_verdicts(session, lead, world.project, 5)


def test_a_known_comparison_given_up_twice_is_held_once(database):
    """Three windows of one person at once: one asks for work, one renews, one answers."""
    settings = {"gold_rate": 1.0, "quota": 10}
    world, _ = gold_world(database, gold=1, settings=settings, comparisons=40)
    skip = AnswerIn(outcome="skip", skip_reason="cannot_tell")
    for _ in range(20):
        ann = add_annotator(database, world)
        first, second = (_given_up(database, world, ann) for _ in range(2))
        at_once = Barrier(3)
        acts = (
            partial(claim, database, world, ann),
            partial(renew, database, ann, first),
            partial(answer, database, ann, second, skip),
        )
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(_at_once, acts, [at_once] * 3))
        with database.reading() as session:
            gold = select(Assignment.state).where(Assignment.person_id == ann.id, Assignment.purpose == Purpose.GOLD)
            assert sum(state in LIVE for state in session.scalars(gold)) == 1
    check(database)


def test_who_takes_up_again_does_not_wait_for_who_extends_another(database):
    """A claim extends what its person holds before it asks for their standing, which the other request has by then."""
    if database.is_sqlite:
        pytest.skip("one writer at a time")
    world, _ = gold_world(database, gold=1, settings={"gold_rate": 1.0, "quota": 10}, comparisons=40)
    ann = add_annotator(database, world)
    first, second = (_given_up(database, world, ann) for _ in range(2))
    renew(database, ann, first)
    with database.transaction() as session, ThreadPoolExecutor(1) as pool:
        assert repository_leases.extend(session, [first], utcnow() + timedelta(minutes=5))
        with pytest.raises(service.LeaseLost):
            pool.submit(renew, database, ann, second).result(timeout=30)
    check(database)


def _given_up(database, world, person) -> int:
    """A known comparison, leased to the person and released."""
    (row,) = claim(database, world, person).rows
    assert row.assignment.purpose == Purpose.GOLD
    with database.transaction() as session:
        service.release(session, person, row.assignment.id)
    return row.assignment.id


def _at_once(act, barrier: Barrier) -> None:
    barrier.wait()
    with suppress(service.LeaseLost):
        act()


ACTS = ("claim", "claim", "submit", "submit", "skip", "edit", "release", "renew", "expire", "requeue", "pause")


def _act(database, world, people, lead, number: int) -> None:
    """Twenty random acts of one person, refusals included."""
    chance = random.Random(number)
    person = people[number % len(people)]
    mine: list[int] = []
    skip = AnswerIn(outcome="skip", skip_reason="cannot_tell")
    for step in range(20):
        act = chance.choice(ACTS)
        at = chance.choice(mine) if mine else None
        try:
            with database.transaction() as session:
                if act == "claim":
                    rows = service.claim(session, world.project, person, count=2, lease_seconds=1, chance=chance).rows
                    mine.extend(row.assignment.id for row in rows)
                elif act == "expire":
                    service.expire(session)
                elif act == "requeue" and step == 10:
                    supervision.requeue(session, lead, world.project, person.id)
                elif act == "pause" and step % 5 == 0:
                    supervision.pause(session, lead, world.project, person.id, "")
                    supervision.resume(session, lead, world.project, person.id)
                elif at is None or act in ("requeue", "pause"):
                    continue
                elif act in ("submit", "skip"):
                    given = skip if act == "skip" else choose(chance.choice(["left", "right"]))
                    service.submit(session, person, at, f"key-{at}", given)
                elif act == "edit":
                    service.revise(session, person, chance.choice([TIE, skip, choose("left")]), assignment_id=at)
                elif act == "release":
                    service.release(session, person, at)
                else:
                    service.renew(session, person, at, lease_seconds=60)
        except (service.LeaseLost, service.AlreadyJudged, NotFound):
            continue


def test_whatever_many_people_do_at_once_the_counters_hold(database):
    settings = {"gold_rate": 0.2, "repeat_rate": 0.2, "most_judgments_per_comparison": 4}
    world, lead = gold_world(database, gold=3, settings=settings, comparisons=14)
    people = [add_annotator(database, world) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        acts = range(8 if database.is_sqlite else 24)
        list(pool.map(lambda number: _act(database, world, people, lead, number), acts))
    check(database)
