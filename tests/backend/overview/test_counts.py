"""What the overview and the home page count, against counting every row."""

import random

import pytest
from sqlalchemy import func, select

from backend.accounts.models import Person, Role
from backend.catalogue.models import Candidate, Condition, Project
from backend.judging import service, supervision
from backend.judging.models import Comparison, ComparisonState, Judgment, Outcome
from backend.judging.schemas import AnswerIn
from backend.kit.database import Database
from backend.overview import repository
from backend.overview.service import Overview, read_overview, wanted
from tests.backend.judging.world import build
from tests.people import add_person

CHOICE = AnswerIn(outcome=Outcome.CHOICE, choice="left")
TIE = AnswerIn(outcome=Outcome.TIE)
SKIP = AnswerIn(outcome=Outcome.SKIP, skip_reason="cannot_tell")


def overview_of(database: Database, project: Project) -> Overview:
    with database.reading() as session:
        return read_overview(session, project)


def act(database: Database, chance: random.Random, project: Project, people: list[Person], lead: Person) -> None:
    """One step of judging: an answer, a change of one, or a person's work judged anew."""
    with database.transaction() as session:
        project = session.get_one(Project, project.id)
        person = session.get_one(Person, chance.choice(people).id)
        kind = chance.choices(("answer", "revise", "requeue", "claim"), (10, 4, 1, 2))[0]
        answer = chance.choice((CHOICE, TIE, SKIP))
        own = list(session.scalars(select(Judgment).where(Judgment.person_id == person.id)))
        if kind == "requeue":
            supervision.requeue(session, lead, project, person.id)
        elif kind == "revise" and own:
            judgment = chance.choice(own)
            if judgment.outcome != Outcome.SKIP:
                service.revise(session, person, answer, judgment_id=judgment.id)
        else:
            claimed = service.claim(session, project, person, count=1, holding=[], lease_seconds=60)
            for row in claimed.rows if kind == "answer" else []:
                service.submit(session, person, row.assignment.id, f"key-{chance.random()}", answer)


@pytest.mark.parametrize("seed", [1, 2])
def test_counters_say_what_the_rows_say(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    project = build(database, comparisons=12, wanted=2).project
    people = [add_person(database, Role.ANNOTATOR, is_simulated=number == 2) for number in range(3)]
    lead = add_person(database, Role.LEAD)
    for step in range(40):
        act(database, chance, project, people, lead)
        if step % 8:
            continue
        found = overview_of(database, project)
        with database.reading() as session:
            given = dict(
                session.execute(select(Judgment.is_simulated, func.count()).group_by(Judgment.is_simulated)).all()
            )
            slots = session.scalar(
                select(func.coalesce(func.sum(Comparison.open_slots), 0)).where(
                    Comparison.state == ComparisonState.OPEN
                )
            )
            mine = dict(session.execute(select(Judgment.person_id, func.count()).group_by(Judgment.person_id)).all())
            assert wanted(session, project.id) == (f"{slots}" if slots else "")
            for person in people:
                assert repository.answers_by(session, person.id).get(project.id, 0) == mine.get(person.id, 0)
        assert (found.judgments.by_people, found.judgments.simulated) == (given.get(False, 0), given.get(True, 0))
        assert (found.judgments.waiting, found.as_of) == (slots, None)


def test_a_big_project_is_counted_once_in_a_while_and_says_when(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = build(database, comparisons=6, wanted=2).project
    direct = overview_of(database, project)
    monkeypatch.setattr(repository, "MANY_OPEN", 4)
    monkeypatch.setattr(repository, "MANY_CANDIDATES", 4)
    kept = overview_of(database, project)
    assert kept.as_of is not None and direct.as_of is None
    with database.reading() as session:
        assert wanted(session, project.id) == "4+"
        candidates = session.scalar(select(func.count()).select_from(Candidate))
        conditions = session.scalar(select(func.count()).select_from(Condition))
    assert (kept.condition_count, kept.candidate_count) == (conditions, candidates)
    assert (kept.conditions, kept.generators[0][1], kept.judgments.waiting) == (
        direct.conditions,
        direct.generators[0][1],
        direct.judgments.waiting,
    )
