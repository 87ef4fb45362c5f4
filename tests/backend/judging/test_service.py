"""The rules of judging, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from backend.judging import repository_leases, service
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonKind,
    Judgment,
    JudgmentRevision,
    Outcome,
    Vote,
    VoteOutcome,
)
from backend.judging.schemas import AnswerIn, MarkIn
from backend.kit.database import Database, utcnow
from backend.kit.errors import Invalid
from tests.backend.judging.world import add_annotator, build, counters_hold

LEFT = AnswerIn(outcome=Outcome.CHOICE, choice="left", reasons=["scale"], seconds=4.0)
SKIP = AnswerIn(outcome=Outcome.SKIP, skip_reason="cannot_tell")


def claim_ids(database: Database, world, person, count=1, **more) -> list[int]:
    with database.transaction() as session:
        claimed = service.claim(session, world.project, person, count=count, lease_seconds=60, **more)
        return [row.assignment.id for row in claimed.rows]


def submit(database: Database, person, assignment_id, answer=LEFT, key=None, **more):
    with database.transaction() as session:
        return service.submit(session, person, assignment_id, key or f"key-{assignment_id}", answer, **more)


def check(database: Database) -> None:
    with database.reading() as session:
        counters_hold(session)


def test_made_comparisons_are_left_alone_the_second_time(database):
    world = build(database, comparisons=3)
    with database.transaction() as session:
        again = service.make_comparisons(
            session,
            world.project,
            kind="pairwise",
            criterion="spatial_rationality",
            candidate_groups=[list(reversed(world.groups[0])), world.groups[1]],
            wanted=7,
        )
        assert again == 0
        assert session.scalars(select(Comparison.wanted)).all() == [1, 1, 1]


@pytest.mark.parametrize(
    ("kind", "groups", "word"),
    [
        ("pairwise", [[0, 0]], "twice"),
        ("pairwise", [[10**9, 0]], "not in this project"),
        ("win_lose", [[0]], "2 to 9"),
        ("arena", [[0]], "exactly 2"),
    ],
)
def test_impossible_groups_are_refused(sqlite_url, kind, groups, word):
    database = Database(sqlite_url)
    world = build(database, comparisons=1)
    first = world.groups[0][0]
    with pytest.raises(Invalid, match=word), database.transaction() as session:
        groups = [[first if c == 0 else c for c in group] for group in groups]
        service.make_comparisons(session, world.project, kind=kind, criterion="overall", candidate_groups=groups)


def test_candidates_of_two_conditions_are_not_compared(database):
    world = build(database, comparisons=2)
    with pytest.raises(Invalid, match="different conditions"), database.transaction() as session:
        mixed = [[world.groups[0][0], world.groups[1][0]]]
        service.make_comparisons(session, world.project, kind="pairwise", criterion="overall", candidate_groups=mixed)


def test_a_claim_gives_each_comparison_once(database):
    world = build(database, comparisons=5)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    first = claim_ids(database, world, ann, 3)
    second = claim_ids(database, world, ben, 3)
    assert (len(first), len(second)) == (3, 2)
    assert claim_ids(database, world, ben, 5, holding=second) == []
    check(database)


def test_a_reload_gets_its_leases_back(database):
    world = build(database, comparisons=5)
    ann = add_annotator(database, world)
    first = claim_ids(database, world, ann, 3)
    assert claim_ids(database, world, ann, 3) == first
    more = claim_ids(database, world, ann, 2, holding=first[:2])
    assert more[0] == first[2] and more[1] not in first
    check(database)


def test_higher_priority_comes_first(database):
    world = build(database, comparisons=6)
    ann = add_annotator(database, world)
    with database.transaction() as session:
        session.get(Comparison, world.comparisons[4]).priority = 5
    (assignment,) = claim_ids(database, world, ann)
    with database.reading() as session:
        assert session.get(Assignment, assignment).comparison_id == world.comparisons[4]


def test_sides_balance_over_the_judgments_of_one_comparison(database):
    world = build(database, comparisons=1, wanted=4)
    orders = []
    for _ in range(4):
        (assignment,) = claim_ids(database, world, add_annotator(database, world))
        with database.reading() as session:
            orders.append(tuple(session.get(Assignment, assignment).shown_order))
    assert sorted(orders) == [(0, 1), (0, 1), (1, 0), (1, 0)]


def test_an_answer_becomes_marks_votes_and_a_complete_comparison(database):
    world = build(database, comparisons=1)
    ann = add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    _, created, *_ = submit(database, ann, assignment)
    assert created
    with database.reading() as session:
        row = session.get(Assignment, assignment)
        left, right = (world.groups[0][position] for position in row.shown_order)
        vote = session.scalars(select(Vote)).one()
        assert (vote.candidate_a, vote.candidate_b) == (min(left, right), max(left, right))
        assert vote.outcome == (VoteOutcome.A if left < right else VoteOutcome.B)
        assert vote.a_shown_first == (left < right)
        assert vote.generator_a == world.generators[world.groups[0].index(vote.candidate_a)]
        assert session.scalars(select(Comparison.state)).one() == "complete"
    check(database)


def test_win_lose_votes_for_every_pair(database):
    world = build(database, comparisons=1, kind=ComparisonKind.WIN_LOSE, k=4)
    ann = add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    marks = [
        MarkIn(mark="win"),
        MarkIn(mark="lose", reasons=["position", "scale"]),
        MarkIn(),
        MarkIn(mark="lose", reasons=["viewpoint"]),
    ]
    submit(database, ann, assignment, AnswerIn(outcome="marks", marks=marks))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Vote)) == 2
        judgment = service.submit(session, ann, assignment, f"key-{assignment}", LEFT)[0]
        assert service.stored_answer(judgment, 4).as_out().marks[1].reasons == ["scale", "position"]
    check(database)


@pytest.mark.parametrize("outcome", ["tie", "both_bad"])
def test_tie_and_both_bad_are_votes_of_their_own(database, outcome):
    world = build(database, comparisons=1)
    ann = add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    submit(database, ann, assignment, AnswerIn(outcome=outcome))
    with database.reading() as session:
        assert session.scalars(select(Vote.outcome)).one() == outcome


@pytest.mark.parametrize(
    ("kind", "answer", "field"),
    [
        ("pairwise", {"outcome": "marks", "marks": [{}, {}]}, "outcome"),
        ("pairwise", {"outcome": "choice"}, "choice"),
        ("pairwise", {"outcome": "skip"}, "skip_reason"),
        ("pairwise", {"outcome": "tie", "reasons": ["scale"]}, "outcome"),
        ("pairwise", {"outcome": "choice", "choice": "left", "reasons": ["other"]}, "comment"),
        ("pairwise", {"outcome": "choice", "choice": "left", "skip_reason": "cannot_tell"}, "skip_reason"),
        ("win_lose", {"outcome": "marks", "marks": [{}]}, "marks"),
        ("win_lose", {"outcome": "marks", "marks": [{}, {}]}, "marks"),
        ("win_lose", {"outcome": "marks", "marks": [{"mark": "win", "reasons": ["scale"]}, {}]}, "marks.0.reasons"),
        ("win_lose", {"outcome": "tie"}, "outcome"),
    ],
)
def test_answers_that_cannot_be_are_refused_by_name(sqlite_url, kind, answer, field):
    database = Database(sqlite_url)
    world = build(database, comparisons=1, kind=ComparisonKind(kind))
    ann = add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    with pytest.raises(Invalid) as refused:
        submit(database, ann, assignment, AnswerIn.model_validate(answer))
    assert refused.value.errors[0]["field"] == field
    check(database)


def test_a_retry_gets_the_stored_answer(database):
    world = build(database, comparisons=2)
    ann = add_annotator(database, world)
    first, second = claim_ids(database, world, ann, 2)
    stored, _, *_ = submit(database, ann, first, key="same-key")
    again, created, *_ = submit(database, ann, first, AnswerIn(outcome="tie"), key="same-key")
    assert (again.id, again.outcome, created) == (stored.id, "choice", False)
    with pytest.raises(service.AlreadyJudged):
        submit(database, ann, first, key="other-key")
    with pytest.raises(Exception, match="another comparison"):
        submit(database, ann, second, key="same-key")
    check(database)


def test_a_skipped_comparison_goes_to_others_only(database):
    world = build(database, comparisons=1)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    submit(database, ann, assignment, SKIP)
    check(database)
    assert claim_ids(database, world, ann) == []
    assert len(claim_ids(database, world, ben)) == 1
    check(database)


def test_an_edit_keeps_what_was_said_before(database):
    world = build(database, comparisons=1)
    ann = add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    judgment, _, *_ = submit(database, ann, assignment)
    for _ in range(2):
        with database.transaction() as session:
            edited = service.revise(session, ann, AnswerIn(outcome="both_bad"), judgment_id=judgment.id)
            assert edited.revision == 2
    with database.reading() as session:
        kept = session.scalars(select(JudgmentRevision)).one()
        assert kept.answer["outcome"] == "choice" and kept.answer["reasons"] == ["scale"]
        assert session.scalars(select(Vote.outcome)).one() == "both_bad"
    check(database)


def test_an_edit_between_skip_and_answer_moves_the_slot(database):
    world = build(database, comparisons=1)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    submit(database, ann, assignment)
    with database.transaction() as session:
        service.revise(session, ann, SKIP, assignment_id=assignment)
    check(database)
    with database.transaction() as session:
        service.revise(session, ann, LEFT, assignment_id=assignment)
    check(database)
    with database.transaction() as session:
        service.revise(session, ann, SKIP, assignment_id=assignment)
    assert len(claim_ids(database, world, ben)) == 1
    with pytest.raises(service.LeaseLost), database.transaction() as session:
        service.revise(session, ann, LEFT, assignment_id=assignment)
    check(database)


def test_a_late_answer_is_taken_while_its_slot_is_open(database):
    world = build(database, comparisons=1)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    (assignment,) = claim_ids(database, world, ann)
    later = utcnow() + timedelta(seconds=120)
    with database.transaction() as session:
        assert service.expire(session, now=later) == 1
    check(database)
    assert submit(database, ann, assignment, now=later)[1]
    check(database)
    assert claim_ids(database, world, ben) == []


def test_a_late_answer_is_refused_when_somebody_else_has_the_slot(database):
    world = build(database, comparisons=1)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    (mine,) = claim_ids(database, world, ann)
    assert len(claim_ids(database, world, ben, now=utcnow() + timedelta(seconds=120))) == 1
    with pytest.raises(service.LeaseLost):
        submit(database, ann, mine)
    with pytest.raises(service.LeaseLost), database.transaction() as session:
        service.renew(session, ann, mine, lease_seconds=60)
    with database.transaction() as session:
        claimed = service.claim(session, world.project, ann, count=1, holding=[mine], lease_seconds=60)
        assert (claimed.lost, claimed.state) == ([mine], "waiting")
    check(database)


def test_release_and_renew(database):
    world = build(database, comparisons=1)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    (mine,) = claim_ids(database, world, ann)
    with database.transaction() as session:
        before = session.get(Assignment, mine).lease_expires_at
        assert service.renew(session, ann, mine, lease_seconds=600).lease_expires_at > before
        service.release(session, ann, mine)
        service.release(session, ann, mine)
    check(database)
    (theirs,) = claim_ids(database, world, ben)
    with database.transaction() as session:
        service.release(session, ben, theirs)
        assert service.renew(session, ann, mine, lease_seconds=60).state == AssignmentState.LEASED
    check(database)


def test_nobody_touches_what_another_holds(database):
    world = build(database, comparisons=1)
    ann, ben = add_annotator(database, world), add_annotator(database, world)
    (mine,) = claim_ids(database, world, ann)
    for act in (
        lambda s: service.submit(s, ben, mine, "some-key", LEFT),
        lambda s: service.renew(s, ben, mine, lease_seconds=60),
        lambda s: service.release(s, ben, mine),
        lambda s: service.revise(s, ben, LEFT, assignment_id=mine),
    ):
        with pytest.raises(Exception, match="no such"), database.transaction() as session:
            act(session)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Judgment)) == 0


def test_why_nothing_comes(database):
    world = build(database, comparisons=1, settings={"paused": True})
    ann = add_annotator(database, world)
    with database.transaction() as session:
        assert service.claim(session, world.project, ann, count=1, lease_seconds=60).state == "paused"
        world.project.settings = {}
        claimed = service.claim(session, world.project, ann, count=1, lease_seconds=60)
        assert claimed.state == "ready"
        service.submit(session, ann, claimed.rows[0].assignment.id, "some-key", LEFT)
        assert service.claim(session, world.project, ann, count=1, lease_seconds=60).state == "finished"
        progress = service.progress(session, world.project, ann)
        assert (progress.done, progress.left, progress.seconds_each) == (1, 0, 4.0)


def test_a_lease_that_somebody_ended_meanwhile_is_not_renewed(database):
    world = build(database, comparisons=3)
    ann = add_annotator(database, world)
    first, second = claim_ids(database, world, ann, 2)
    with database.transaction() as session:
        service.release(session, ann, first)
    until = utcnow() + timedelta(hours=1)
    with database.transaction() as session:
        assert repository_leases.extend(session, [first, second], until) == {second}
    with database.reading() as session:
        assert session.get_one(Assignment, first).state == AssignmentState.RELEASED
        assert session.get_one(Assignment, second).lease_expires_at == until
