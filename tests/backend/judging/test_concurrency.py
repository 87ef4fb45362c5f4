"""Many annotators at once, each in a transaction of their own."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from backend.accounts.models import Person
from backend.judging import service
from backend.judging.models import Assignment, AssignmentState, Comparison, Judgment
from backend.judging.schemas import AnswerIn
from backend.kit.database import Database
from tests.backend.judging.world import World, add_annotator, build, counters_hold

TIE = AnswerIn(outcome="tie")


def _work(database: Database, world: World, person: Person) -> int:
    """Claims and answers until nothing is left; every answer is sent twice. How many it gave."""
    given = 0
    while True:
        with database.transaction() as session:
            claimed = service.claim(session, world.project, person, count=2, lease_seconds=600)
            mine = [row.assignment.id for row in claimed.rows]
        if not mine:
            return given
        for assignment in mine:
            for _ in range(2):
                with database.transaction() as session:
                    given += service.submit(session, person, assignment, f"key-{assignment}", TIE)[1]


@pytest.mark.parametrize("wanted", [1, 3])
def test_fifty_claimers_never_over_assign(database, wanted):
    if database.is_sqlite:
        annotators, comparisons = 8, 12
    else:
        annotators, comparisons = 50, 60
    world = build(database, comparisons=comparisons, wanted=wanted)
    people = [add_annotator(database, world) for _ in range(annotators)]
    with ThreadPoolExecutor(annotators) as pool:
        given = sum(pool.map(lambda person: _work(database, world, person), people))
    with database.reading() as session:
        counters_hold(session)
        assert given == comparisons * wanted
        per_comparison = select(func.count()).select_from(Assignment).group_by(Assignment.comparison_id)
        assert set(session.scalars(per_comparison)) == {wanted}
        assert session.scalar(select(func.count()).select_from(Judgment)) == given
        assert set(session.scalars(select(Comparison.state))) == {"complete"}


def test_one_person_in_many_windows_holds_each_comparison_once(database):
    world = build(database, comparisons=6, wanted=5)
    person = add_annotator(database, world)

    def claim(_: int) -> None:
        with database.transaction() as session:
            service.claim(session, world.project, person, count=3, lease_seconds=600)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(claim, range(8)))
    with database.reading() as session:
        counters_hold(session)
        held = session.scalars(select(Assignment.comparison_id).where(Assignment.state == AssignmentState.LEASED)).all()
        assert len(held) == len(set(held))


def test_the_same_answer_sent_at_once_is_stored_once(database):
    world = build(database, comparisons=1)
    person = add_annotator(database, world)
    with database.transaction() as session:
        claimed = service.claim(session, world.project, person, count=1, lease_seconds=600)
        assignment = claimed.rows[0].assignment.id

    def submit(_: int) -> bool:
        with database.transaction() as session:
            return service.submit(session, person, assignment, "the-same-key", TIE)[1]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(16))) == 1
    with database.reading() as session:
        counters_hold(session)
