"""What each project asks of an answer, and what an answer says beyond win and lose."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import select

from backend.catalogue.models import Project
from backend.judging import service
from backend.judging.answers import Policy, ShownCandidate, read_answer, votes_of
from backend.judging.models import ComparisonKind, Judgment, JudgmentMark, Mark, Vote, VoteOutcome
from backend.judging.schemas import AnswerIn
from backend.kit.errors import Invalid
from tests.backend.judging.world import add_annotator, build
from tests.people import client_of

PAIR, MANY = ComparisonKind.PAIRWISE, ComparisonKind.WIN_LOSE
WIN, LOSE, NONE = {"mark": "win"}, {"mark": "lose"}, {"mark": "none"}


def read(answer: dict, kind: ComparisonKind = PAIR, count: int = 2, **policy):
    return read_answer(AnswerIn.model_validate(answer), kind, count, Policy(**policy))


def marks(*entries: dict) -> dict:
    return {"outcome": "marks", "marks": list(entries)}


@pytest.mark.parametrize(
    ("answer", "kind", "policy", "field"),
    [
        ({"outcome": "choice", "choice": "left"}, PAIR, {"reasons": "required"}, "reasons"),
        (marks(WIN, LOSE), MANY, {"reasons": "required"}, "marks.1.reasons"),
        (marks(NONE, NONE), MANY, {}, "marks"),
        (marks(WIN, WIN), MANY, {"best_worst": True}, "marks"),
        (marks(WIN, NONE), MANY, {"best_worst": True}, "marks"),
        (marks(NONE, NONE), MANY, {"best_worst": True, "allow_incomplete": True}, "marks"),
        ({"outcome": "tie", "strength": 1}, PAIR, {}, "strength"),
        ({"outcome": "both_good", "reasons": ["scale"]}, PAIR, {}, "outcome"),
        (marks({"mark": "win", "regions": [{"x": 0, "y": 0}]}, LOSE), MANY, {}, "marks.0.regions"),
        ({"outcome": "both_good"}, MANY, {}, "outcome"),
    ],
)
def test_what_a_project_asks_for_is_asked_on_the_server_in_a_sentence(answer, kind, policy, field):
    with pytest.raises(Invalid) as refused:
        read(answer, kind, **policy)
    assert refused.value.errors[0]["field"] == field
    assert refused.value.detail.endswith(".")


@pytest.mark.parametrize(
    ("answer", "kind", "policy"),
    [
        ({"outcome": "choice", "choice": "left", "reasons": ["scale"]}, PAIR, {"reasons": "required"}),
        ({"outcome": "both_bad"}, PAIR, {"reasons": "required"}),
        (marks(WIN, {"mark": "lose", "reasons": ["position"]}), MANY, {"reasons": "required"}),
        (marks(NONE, NONE), MANY, {"allow_incomplete": True}),
        (marks(LOSE, WIN), MANY, {"best_worst": True}),
        ({"outcome": "choice", "choice": "right", "strength": 2}, PAIR, {}),
    ],
)
def test_what_a_project_allows_is_taken(answer, kind, policy):
    assert read(answer, kind, **policy).outcome == answer["outcome"]


def test_both_good_is_a_tie_between_two_winners():
    shown = [ShownCandidate(7, 1), ShownCandidate(3, 2)]
    good, bad = read({"outcome": "both_good"}), read({"outcome": "both_bad"})
    assert [each.mark for each in good.marks] == [Mark.WIN, Mark.WIN]
    assert [vote.outcome for vote in votes_of(good, shown)] == [VoteOutcome.TIE]
    assert [vote.outcome for vote in votes_of(bad, shown)] == [VoteOutcome.BOTH_BAD]


share = st.floats(0, 1, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(x=share, y=share, width=st.none() | share, height=st.none() | share)
def test_a_region_lies_within_the_image_or_is_refused(x, y, width, height):
    answer = {"outcome": "choice", "choice": "left", "regions": [{"x": x, "y": y, "width": width, "height": height}]}
    is_point = width is None and height is None
    is_box = bool(width and height) and x + width <= 1 and y + height <= 1
    if is_point or is_box:
        (region,) = read(answer).marks[1].regions
        assert region["x"] == pytest.approx(x, abs=1e-4) and ("width" in region) == is_box
    elif width is None or height is None or not width or not height or x + width > 1.0001 or y + height > 1.0001:
        with pytest.raises(ValidationError):
            read(answer)


def test_strength_and_regions_are_stored_changed_and_kept_as_a_revision(database):
    world = build(database, comparisons=1)
    ann = add_annotator(database, world)
    with database.transaction() as session:
        (row,) = service.claim(session, world.project, ann, count=1, lease_seconds=60).rows
        first = {
            "outcome": "choice", "choice": "left", "strength": 2, "reasons": ["scale"],
            "regions": [{"x": 0.25, "y": 0.5}, {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.3}],
        }  # fmt: skip
        service.submit(session, ann, row.assignment.id, "key-of-first", AnswerIn.model_validate(first))
        mark = session.scalars(select(JudgmentMark).where(JudgmentMark.mark == "lose")).one()
        assert mark.regions == [{"x": 0.25, "y": 0.5}, {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.3}]
        changed = service.revise(session, ann, AnswerIn(outcome="both_good"), assignment_id=row.assignment.id)
        assert (changed.revision, changed.strength) == (2, None)
        assert [vote.outcome for vote in session.scalars(select(Vote))] == ["tie"]


def test_makers_are_revealed_after_an_arena_vote_that_then_stands(app, database):
    world = build(database, comparisons=2, kind=ComparisonKind.ARENA, settings={"reveal_after_vote": True})
    ann = client_of(app, add_annotator(database, world))
    items = ann.post("/api/v1/projects/street-scenes/assignments", json={"count": 2}).json()["items"]
    url = f"/api/v1/assignments/{items[0]['id']}/judgment"
    voted = ann.post(url, json={"outcome": "tie"}, headers={"idempotency-key": "reveal-1"})
    assert sorted(voted.json()["revealed"]) == ["base", "tuned"]
    refused = ann.patch(url, json={"outcome": "both_bad"}, headers={"accept-language": "zh"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "您已看到这两幅的生成者，该票不再更改。")
    skipped = {"outcome": "skip", "skip_reason": "cannot_tell"}
    url = f"/api/v1/assignments/{items[1]['id']}/judgment"
    assert ann.post(url, json=skipped, headers={"idempotency-key": "reveal-2"}).json()["revealed"] is None
    with database.transaction() as session:
        session.query(Project).one().settings = {}
    url = f"/api/v1/assignments/{items[0]['id']}/judgment"
    assert ann.patch(url, json={"outcome": "both_bad"}).json()["revealed"] is None


def test_simulated_annotators_are_asked_for_nothing(database):
    world = build(database, comparisons=1, settings={"reasons": "required"})
    ann, robot = add_annotator(database, world), add_annotator(database, world)
    with database.transaction() as session:
        (row,) = service.claim(session, world.project, ann, count=1, lease_seconds=60).rows
        answer = AnswerIn(outcome="choice", choice="left")
        with pytest.raises(Invalid):
            service.submit(session, ann, row.assignment.id, "without-reason", answer)
        service.release(session, ann, row.assignment.id)
        robot = session.merge(robot)
        robot.is_simulated = True
        (row,) = service.claim(session, world.project, robot, count=1, lease_seconds=60).rows
        service.submit(session, robot, row.assignment.id, "without-reason", answer)
        assert session.scalars(select(Judgment.outcome)).one() == "choice"
