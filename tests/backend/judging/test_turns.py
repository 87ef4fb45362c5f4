"""An ordinary answer and the next lease in two statements: once, and as the long way has it."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from backend.accounts import sessions
from backend.judging import following, repository_turns, service, turns, views
from backend.judging.leases import shown_order
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonCandidate,
    ComparisonKind,
    Judgment,
    JudgmentMark,
    Purpose,
    Vote,
)
from backend.judging.models_serving import Standing
from backend.judging.schemas import AnswerAndNextIn
from backend.judging.tickets import Tickets
from backend.kit.database import Database, utcnow
from backend.settings import Settings
from tests.backend.judging.world import add_annotator, build, counters_hold

pytestmark = pytest.mark.postgres
LEFT = {"outcome": "choice", "choice": "left", "reasons": ["scale"], "seconds": 4.5, "strength": 2}
REGION = {"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}
ANSWERS = (
    LEFT,
    {"outcome": "choice", "choice": "right", "regions": [REGION], "comment": "  floats "},
    {"outcome": "tie"},
    {"outcome": "both_good", "seconds": 700},
    {"outcome": "both_bad", "seconds": 3},
)


@pytest.fixture
def database(postgres_url):
    database = Database(postgres_url)
    yield database
    database.dispose()


class Desk:
    """One annotator, logged in, who has answered before."""

    def __init__(self, database, world):
        self.database, self.world, self.person = database, world, add_annotator(database, world)
        with database.transaction() as session:
            self.cookie = sessions.start_session(session, session.merge(self.person), "test")
            session.add(Standing(project_id=world.project.id, person_id=self.person.id))

    def claim(self, count=1, holding=()):
        with self.database.transaction() as session:
            found = service.claim(
                session, self.world.project, self.person, count=count, lease_seconds=600, holding=holding
            )
            return [row.assignment.id for row in found.rows]

    def turn(self, assignment, given=LEFT, *, holding=None, key=None, chance=None):
        """The short way alone."""
        body = {**given, "next": {"count": 1, "holding": [assignment] if holding is None else holding}}
        now, chance = utcnow(), chance or random.Random()
        proof = sessions.proof_of(self.cookie, now, Settings(_env_file=None))
        with self.database.single_statements() as session:
            look = repository_turns.look(session, assignment, proof)
            return look and turns.take(
                session,
                look,
                key or f"key-{assignment}",
                AnswerAndNextIn.model_validate(body),
                lease_seconds=600,
                now=now,
                chance=chance,
            )

    def submit(self, assignment, given=LEFT, key=None):
        """The long way."""
        with self.database.transaction() as session:
            body = AnswerAndNextIn.model_validate(given)
            return service.submit(session, self.person, assignment, key or f"key-{assignment}", body)


def won_by_first(vote):
    """Whether the first shown has won, whichever that was; the outcome where none has."""
    return (vote.outcome == "a") == vote.a_shown_first if vote.outcome in ("a", "b") else vote.outcome


def stored(database, assignment):
    """All that an answer has written, but ids, keys and moments."""
    with database.reading() as session:
        judgment = session.scalars(select(Judgment).where(Judgment.assignment_id == assignment)).one()
        columns = [
            *("project_id", "revision", "outcome", "skip_reason", "comment", "strength", "seconds"),
            *("is_simulated", "purpose", "agrees"),
        ]
        held = session.get_one(Assignment, assignment)
        comparison = session.get_one(Comparison, held.comparison_id)
        marks = session.scalars(select(JudgmentMark).where(JudgmentMark.judgment_id == judgment.id))
        votes = session.scalars(select(Vote).where(Vote.judgment_id == judgment.id))
        entries = select(ComparisonCandidate.candidate_id).where(ComparisonCandidate.comparison_id == comparison.id)
        place = session.scalars(entries.order_by(ComparisonCandidate.position)).all().index
        return (
            [getattr(judgment, name) for name in columns],
            (held.state, held.ended_at == judgment.created_at, judgment.created_at == judgment.updated_at),
            (comparison.state, comparison.open_slots, comparison.judgments),
            # By what was shown first, since that differs from comparison to comparison.
            sorted((mark.shown_position, mark.mark, mark.reasons, mark.regions) for mark in marks),
            [
                (
                    *(vote.criterion, vote.is_simulated, vote.condition_id == comparison.condition_id),
                    *(place(vote.candidate_a), place(vote.candidate_b), vote.generator_a, vote.generator_b),
                    # Whether the first shown has won, whichever that was.
                    vote.outcome
                    if vote.outcome in ("tie", "both_bad")
                    else (vote.outcome == "a") == vote.a_shown_first,
                )
                for vote in votes
            ],
        )


@pytest.mark.parametrize("given", ANSWERS, ids=lambda given: f"{given['outcome']} {given.get('choice', '')}")
def test_it_stores_what_the_long_way_stores(database, given):
    world = build(database, comparisons=12)
    ann, ben = Desk(database, world), Desk(database, world)
    (short,), (long,) = ann.claim(), ben.claim()
    turn = ann.turn(short, given)
    assert turn is not None
    taken = ben.submit(long, given)
    assert stored(database, short) == stored(database, long)
    assert turn.noted == taken.noted
    with database.reading() as session:
        counters_hold(session)
        mine, theirs = (session.get_one(Standing, (world.project.id, desk.person.id)) for desk in (ann, ben))
        assert (mine.done, mine.seconds_each) == (theirs.done, theirs.seconds_each) == (1, mine.seconds_each)
        judgment = session.scalars(select(Judgment).where(Judgment.assignment_id == short)).one()
        assert turn.judgment_id == judgment.id
    tickets = Tickets(b"secret")
    said, told = (
        out.model_dump(exclude={"id", "assignment_id", "created_at", "updated_at", "prompt", "next"})
        for out in (views.turn_out(turn, ann.person.id, tickets), views.taken_out(taken, None, tickets))
    )
    assert said == told


@pytest.mark.parametrize("kind, k", [(ComparisonKind.PAIRWISE, 2), (ComparisonKind.WIN_LOSE, 3)])
def test_what_follows_is_shown_as_a_claim_would_show_it(database, kind, k):
    world = build(database, comparisons=9, kind=kind, k=k, wanted=3)
    given = LEFT if k == 2 else {"outcome": "marks", "marks": [{"mark": "win"}, {"mark": "lose"}, {"mark": "none"}]}
    held_before = dict.fromkeys(world.comparisons, 0)
    for number in range(3):
        desk = Desk(database, world)
        (at,) = desk.claim()
        with database.reading() as session:
            held_before[session.get_one(Assignment, at).comparison_id] += 1
        while (turn := desk.turn(at, given, chance=random.Random(number))) and turn.claimed:
            (row,) = turn.claimed.rows
            expected = shown_order(row.comparison_id, k, held_before[row.comparison_id])
            assert row.assignment.shown_order == expected
            held_before[row.comparison_id] += 1
            at = row.assignment.id
            with database.reading() as session:
                lease = session.get_one(Assignment, at)
                assert (lease.state, lease.shown_order, lease.propensity) == ("leased", expected, 1.0)
                assert lease.lease_expires_at == row.assignment.lease_expires_at and lease.ended_at is None
                counters_hold(session)
            assert len(row.images) == k and row.prompt and row.subject_name and row.mask


def test_the_most_urgent_comes_first(database):
    world = build(database, comparisons=30)
    desk = Desk(database, world)
    (at,) = desk.claim()
    with database.transaction() as session:
        urgent = set(world.comparisons[20:25]) - {session.get_one(Assignment, at).comparison_id}
        session.execute(update(Comparison).where(Comparison.id.in_(urgent)).values(priority=5))
    for _ in range(3):
        turn = desk.turn(at, chance=random.Random(0))
        assert turn.claimed.rows[0].comparison_id in urgent
        at = turn.claimed.rows[0].assignment.id


def test_what_is_not_ordinary_is_left_alone(database):
    world = build(database, comparisons=10)
    desk, other = Desk(database, world), Desk(database, world)
    first, second = desk.claim(2)
    assert other.turn(first) is None
    assert desk.turn(first, {"outcome": "skip", "skip_reason": "cannot_tell"}) is None
    for settings in (
        *({"paused": True}, {"quota": 5}, {"choice": "active"}, {"qualification_required": True}),
        *({"most_judgments_per_comparison": 2}, {"gold_rate": 0.5, "repeat_rate": 0.5}),
    ):
        with database.transaction() as session:
            session.merge(world.project).settings = settings
        assert desk.turn(first) is None
    with database.transaction() as session:
        session.merge(world.project).settings = {}
        service.release(session, desk.person, second)
    assert desk.turn(second) is None
    with database.transaction() as session:
        session.get_one(Standing, (world.project.id, desk.person.id)).paused_at = utcnow()
    assert desk.turn(first) is None
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Judgment)) == 0
        assert session.get_one(Assignment, first).state == AssignmentState.LEASED
        counters_hold(session)


def test_who_holds_something_unnamed_gets_nothing_more(database):
    world = build(database, comparisons=10)
    desk = Desk(database, world)
    first, _ = desk.claim(2)
    turn = desk.turn(first, holding=[first])
    assert turn is not None and turn.claimed is None


def test_a_key_that_has_answered_elsewhere_changes_nothing(database):
    world = build(database, comparisons=10)
    desk = Desk(database, world)
    first, second = desk.claim(2)
    assert desk.turn(first, key="the-only-key", holding=[first, second])
    with database.reading() as session:
        before = session.scalar(select(func.sum(Comparison.open_slots)))
    assert desk.turn(second, key="the-only-key") is None
    with database.reading() as session:
        assert session.get_one(Assignment, second).state == AssignmentState.LEASED
        assert session.scalar(select(func.sum(Comparison.open_slots))) == before
        counters_hold(session)


@pytest.mark.parametrize("same_key", [True, False])
def test_a_double_click_is_one_judgment(database, same_key):
    world = build(database, comparisons=60)
    desk = Desk(database, world)
    with ThreadPoolExecutor(6) as pool:
        for _ in range(8):
            (at,) = desk.claim()
            keys = [f"key-{at}" if same_key else f"key-{at}-{n}" for n in range(6)]
            done = list(pool.map(lambda key, at=at: desk.turn(at, key=key), keys))
            assert sum(turn is not None for turn in done) == 1
            with database.reading() as session:
                assert session.scalar(select(func.count()).where(Judgment.assignment_id == at)) == 1
                counters_hold(session)
            for each in [turn for turn in done if turn and turn.claimed]:
                desk.submit(each.claimed.rows[0].assignment.id)


def test_fifty_at_once_never_over_assign(database):
    world = build(database, comparisons=100, wanted=2)
    desks = [Desk(database, world) for _ in range(50)]

    def work(desk):
        short = 0
        held = desk.claim(2)
        while held:
            at = held.pop(0)
            turn = desk.turn(at, holding=[*held, at])
            if turn is None:
                desk.submit(at)
            short += turn is not None
            rows = turn.claimed.rows if turn and turn.claimed else ()
            held += [row.assignment.id for row in rows] or desk.claim(1, holding=held)
        return short

    with ThreadPoolExecutor(50) as pool:
        short = sum(pool.map(work, desks))
    assert short > 150
    with database.reading() as session:
        counters_hold(session)
        assert session.scalar(select(func.count()).select_from(Judgment)) == 200
        assert set(session.scalars(select(Comparison.state))) == {"complete"}


def test_the_dice_say_the_same_the_short_way_and_the_long_way(database):
    """Known answers come at their rate although two ways ask for them."""
    world = build(database, comparisons=40, wanted=2, settings={"repeat_rate": 0.3})
    desk = Desk(database, world)
    (at,) = desk.claim()
    for seed in range(30):
        with database.reading() as session:
            is_regular = session.get_one(Assignment, at).purpose == Purpose.REGULAR
        turn = desk.turn(at, chance=random.Random(seed))
        assert (turn is not None) == (is_regular and random.Random(seed).random() >= 0.3)
        if turn is None:
            with database.transaction() as session:
                taken = service.submit(session, desk.person, at, f"key-{at}", AnswerAndNextIn(outcome="tie"))
                claimed = following.claim_after(
                    session, desk.person, taken, count=1, lease_seconds=600, chance=random.Random(seed)
                )
        else:
            claimed = turn.claimed
        at = claimed.rows[0].assignment.id if claimed else desk.claim()[0]
