"""An answer that leases what comes next: once, by the rules of a claim, and nothing held unseen."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from backend.accounts.models import LoginSession
from backend.judging import following, service
from backend.judging.models import Assignment, AssignmentState, Comparison, Judgment, Purpose
from backend.judging.schemas import AnswerIn
from tests.backend.judging.world import add_annotator, build, counters_hold
from tests.people import client_of

TIE = AnswerIn(outcome="tie")
CLAIM = "/api/v1/projects/street-scenes/assignments"


def claim(database, world, person, count=1, holding=()):
    with database.transaction() as session:
        found = service.claim(session, world.project, person, count=count, lease_seconds=600, holding=holding)
        return [row.assignment.id for row in found.rows]


def answer_and_claim(database, person, assignment, *, count=1, holding=(), key=None, **more):
    with database.transaction() as session:
        taken = service.submit(session, person, assignment, key or f"key-{assignment}", TIE)
        return taken, following.claim_after(
            session, person, taken, count=count, holding=holding, lease_seconds=600, **more
        )


def leased(database, person):
    with database.reading() as session:
        counters_hold(session)
        mine = (Assignment.person_id == person.id, Assignment.state == AssignmentState.LEASED)
        return list(session.scalars(select(Assignment.id).where(*mine).order_by(Assignment.id)))


def test_each_answer_brings_the_next_until_a_claim_is_to_tell_what_is_left(database):
    world = build(database, comparisons=30)
    ann = add_annotator(database, world)
    held = claim(database, world, ann, 3)
    given = 0
    while held:
        at = held.pop(0)
        taken, claimed = answer_and_claim(database, ann, at, holding=[*held, at], chance=random.Random(given))
        given += 1
        assert taken.is_new
        if claimed is None:
            # Nothing behind the place the dice pointed at: a claim looks everywhere.
            held += claim(database, world, ann, 1, holding=held)
            continue
        assert claimed.state == "ready" and len(claimed.rows) == 1
        assert (claimed.progress.done, claimed.progress.left) == (given, None)
        (row,) = claimed.rows
        assert sorted(row.assignment.shown_order) == [0, 1] and len(row.images) == 2 and row.prompt
        held.append(row.assignment.id)
        assert leased(database, ann) == sorted(held)
    assert given == 30


def test_an_answer_sent_again_leases_nothing_and_a_claim_shows_what_was_leased(database):
    world = build(database, comparisons=20)
    ann = add_annotator(database, world)
    (first,) = claim(database, world, ann)
    _, claimed = answer_and_claim(database, ann, first, holding=[first], chance=random.Random(1))
    given = [row.assignment.id for row in claimed.rows]
    again, nothing = answer_and_claim(database, ann, first, holding=[first])
    assert not again.is_new and nothing is None
    assert leased(database, ann) == given
    # The response was lost: the page names nothing, and gets what it was leased.
    assert claim(database, world, ann) == given


def test_who_holds_something_unnamed_is_left_to_a_claim(database):
    world = build(database, comparisons=20)
    ann = add_annotator(database, world)
    first, second = claim(database, world, ann, 2)
    _, claimed = answer_and_claim(database, ann, first, holding=[first])
    assert claimed is None and leased(database, ann) == [second]


@pytest.mark.parametrize(
    "settings", [{"paused": True}, {"quota": 1}, {"choice": "active"}, {"qualification_required": True}]
)
def test_what_a_project_asks_for_is_left_to_a_claim(database, settings):
    world = build(database, comparisons=20)
    ann = add_annotator(database, world)
    (first,) = claim(database, world, ann)
    with database.transaction() as session:
        session.merge(world.project).settings = settings
    taken, claimed = answer_and_claim(database, ann, first, holding=[first])
    assert taken.is_new and claimed is None and leased(database, ann) == []


def test_known_answers_come_at_their_rate_and_not_for_who_has_nothing_else(database):
    world = build(database, comparisons=12, wanted=2, settings={"repeat_rate": 1.0, "gold_rate": 0.0})
    ann = add_annotator(database, world)
    held = claim(database, world, ann)
    purposes = Counter()
    for number in range(12):
        _, claimed = answer_and_claim(database, ann, held[0], holding=held, chance=random.Random(number))
        held = [row.assignment.id for row in claimed.rows] if claimed else claim(database, world, ann)
        if not held:
            break
        with database.reading() as session:
            purposes[session.get_one(Assignment, held[0]).purpose] += 1
            counters_hold(session)
    assert purposes[Purpose.REPEAT] >= 1


def test_fifty_who_answer_and_go_on_never_over_assign(database):
    annotators, comparisons = (6, 20) if database.is_sqlite else (50, 150)
    world = build(database, comparisons=comparisons)
    people = [add_annotator(database, world) for _ in range(annotators)]

    def work(person):
        given, held = 0, claim(database, world, person)
        while held:
            at = held.pop(0)
            taken, claimed = answer_and_claim(database, person, at, holding=[*held, at])
            given += taken.is_new
            held += [row.assignment.id for row in claimed.rows] if claimed else claim(database, world, person)
        return given

    with ThreadPoolExecutor(annotators) as pool:
        assert sum(pool.map(work, people)) == comparisons
    with database.reading() as session:
        counters_hold(session)
        held = select(func.count()).select_from(Assignment).group_by(Assignment.comparison_id)
        assert set(session.scalars(held)) == {1}
        assert set(session.scalars(select(Comparison.state))) == {"complete"}


def test_over_http_the_short_way_and_the_long_way_say_the_same(app, database, blobs):
    world = build(database, comparisons=20, blobs=blobs, size=32)
    ann, ben = (client_of(app, add_annotator(database, world)) for _ in range(2))

    def post(client, item, body, key="a-key-of-mine", **headers):
        url = f"/api/v1/assignments/{item}/judgment"
        return client.post(url, json=body, headers={"idempotency-key": key} | headers)

    first = ann.post(CLAIM, json={"count": 1}).json()["items"][0]["id"]
    body = {"outcome": "tie", "next": {"count": 1, "holding": [first]}}
    for refused, status in (
        (post(ben, first, body), 404),
        (post(ann, first, {"outcome": "marks", "marks": []}), 422),
        (post(ann, first, {"outcome": "nonsense"}), 422),
        (post(ann, first, body, key="short"), 422),
        (post(ann, first, body, **{"x-csrf-token": "forged"}), 403),
        (post(ann, first, body, **{"sec-fetch-site": "cross-site"}), 403),
    ):
        assert refused.status_code == status and refused.json()["detail"]
        assert refused.headers["content-type"].startswith("application/problem+json")
    stored = post(ann, first, body)
    assert stored.status_code == 201 and stored.headers["x-request-id"]
    again = post(ann, first, body)
    assert again.status_code == 200 and again.json()["id"] == stored.json()["id"] and again.json()["next"] is None
    # By PUT it goes the long way.
    url = f"/api/v1/assignments/{first}/judgment"
    long = ann.put(url, json=body, headers={"idempotency-key": "a-key-of-mine"})
    assert long.json() == again.json() and long.status_code == 200
    with database.transaction() as session:
        for row in session.scalars(select(LoginSession)):
            session.delete(row)
    assert post(ann, first, body).status_code == 401
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Judgment)) == 1
