"""Judging against a plain model: any order of claim, renew, release, submit, retry, skip, edit and expiry."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test
from sqlalchemy import delete, func, select, update

from backend.accounts import sessions
from backend.accounts.models import Person
from backend.judging import repository_turns, service, turns
from backend.judging.models import Assignment, Comparison, Judgment, JudgmentMark, JudgmentRevision, Vote
from backend.judging.models_serving import Standing
from backend.judging.schemas import AnswerAndNextIn, AnswerIn
from backend.kit.database import Database, utcnow
from backend.settings import Settings
from tests.backend.judging.world import World, add_annotator, build, counters_hold

LEASE = 60
ANSWERS = {
    "left": AnswerIn(outcome="choice", choice="left", reasons=["scale"]),
    "right": AnswerIn(outcome="choice", choice="right"),
    "tie": AnswerIn(outcome="tie"),
    "both_bad": AnswerIn(outcome="both_bad"),
    "skip": AnswerIn(outcome="skip", skip_reason="cannot_tell"),
}
answers = st.sampled_from(sorted(ANSWERS))


@dataclass
class Held:
    """The model's idea of an assignment."""

    person: int
    comparison: int
    state: str
    until: datetime
    answer: str | None = None
    edits: int = 0


@dataclass
class Model:
    """What should be true, kept in plain dictionaries."""

    wanted: int
    held: dict[int, Held] = field(default_factory=dict)

    def taken(self, comparison: int) -> int:
        return sum(h.comparison == comparison and h.state in ("leased", "submitted") for h in self.held.values())

    def is_open(self, comparison: int) -> bool:
        return self.taken(comparison) < self.wanted

    def has_live(self, person: int, comparison: int, but: int | None = None) -> bool:
        return any(
            h.person == person and h.comparison == comparison and h.state in ("leased", "submitted", "skipped")
            for i, h in self.held.items()
            if i != but
        )

    def servable(self, person: int, comparisons: list[int]) -> list[int]:
        return [c for c in comparisons if self.is_open(c) and not self.has_live(person, c)]

    def can_return(self, assignment: int) -> bool:
        """Whether an ended lease can be taken up again."""
        held = self.held[assignment]
        return self.is_open(held.comparison) and not self.has_live(held.person, held.comparison, but=assignment)


def machine(database: Database, world: World, people: list[Person], wanted: int) -> type[RuleBasedStateMachine]:
    by_id = {person.id: person for person in people}
    with database.transaction() as session:
        cookies = {person.id: sessions.start_session(session, person, "test") for person in people}

    class Judging(RuleBasedStateMachine):
        assignments = Bundle("assignments")

        def __init__(self) -> None:
            super().__init__()
            self.now = utcnow()
            self.model = Model(wanted)
            with database.transaction() as session:
                for table in (Vote, JudgmentMark, JudgmentRevision, Judgment, Assignment, Standing):
                    session.execute(delete(table))
                session.execute(update(Comparison).values(open_slots=wanted, judgments=0, state="open"))

        def _act(self, action):
            with database.transaction() as session:
                return action(session)

        def _expired(self) -> None:
            """The model's reaper."""
            for held in self.model.held.values():
                if held.state == "leased" and held.until < self.now:
                    held.state = "expired"

        @rule(target=assignments, person=st.sampled_from(people), count=st.integers(1, 3))
        def claim(self, person, count):
            known = set(self.model.held)
            mine = [i for i, h in self.model.held.items() if h.person == person.id and h.state == "leased"]
            for i in mine:
                self.model.held[i].until = self.now + timedelta(seconds=LEASE)
            self._expired()
            servable = self.model.servable(person.id, world.comparisons)
            claimed = self._act(
                lambda s: service.claim(
                    s,
                    world.project,
                    person,
                    count=count,
                    lease_seconds=LEASE,
                    holding=mine,
                    now=self.now,
                    chance=random.Random(len(known)),
                )
            )
            assert len(claimed.rows) == min(count, len(servable)) and not claimed.lost
            for row in claimed.rows:
                assert row.assignment.id not in known and row.comparison_id in servable
                until = row.assignment.lease_expires_at
                self.model.held[row.assignment.id] = Held(person.id, row.comparison_id, "leased", until)
            return multiple(*(row.assignment.id for row in claimed.rows))

        @rule(seconds=st.sampled_from([1, 30, 61]))
        def wait(self, seconds):
            self.now += timedelta(seconds=seconds)

        @rule()
        def expire(self):
            due = [h for h in self.model.held.values() if h.state == "leased" and h.until < self.now]
            assert self._act(lambda s: service.expire(s, now=self.now)) == len(due)
            self._expired()

        @rule(assignment=assignments)
        def renew(self, assignment):
            held = self.model.held[assignment]
            person = by_id[held.person]
            action = lambda s: service.renew(s, person, assignment, lease_seconds=LEASE, now=self.now)  # noqa: E731  # a one-line act, run in two ways
            if held.state in ("submitted", "skipped"):
                with pytest.raises(service.AlreadyJudged):
                    self._act(action)
            elif held.state != "leased" and not self.model.can_return(assignment):
                with pytest.raises(service.LeaseLost):
                    self._act(action)
            else:
                self._act(action)
                held.state, held.until = "leased", self.now + timedelta(seconds=LEASE)

        @rule(assignment=assignments)
        def release(self, assignment):
            held = self.model.held[assignment]
            self._act(lambda s: service.release(s, by_id[held.person], assignment, now=self.now))
            if held.state == "leased":
                held.state = "released"

        @rule(assignment=assignments, answer=answers, twice=st.booleans())
        def submit(self, assignment, answer, twice):
            held = self.model.held[assignment]
            person, key = by_id[held.person], f"key-{assignment}"
            action = lambda s: service.submit(s, person, assignment, key, ANSWERS[answer], now=self.now)  # noqa: E731  # a one-line act, run in two ways
            if held.state in ("submitted", "skipped"):
                assert self._act(action)[1] is False
                return
            if held.state != "leased" and not self.model.can_return(assignment):
                with pytest.raises(service.LeaseLost):
                    self._act(action)
                return
            assert self._act(action)[1] is True
            if twice:
                assert self._act(action)[1] is False
            held.state, held.answer = ("skipped" if answer == "skip" else "submitted"), answer

        @rule(target=assignments, assignment=assignments, answer=answers, names_all=st.booleans())
        def answer_and_go_on(self, assignment, answer, names_all):
            held = self.model.held[assignment]
            person, key = by_id[held.person], f"key-{assignment}"
            mine = [i for i, h in self.model.held.items() if h.person == person.id and h.state == "leased"]
            holding = mine if names_all else [assignment]
            found = self._turn(person, assignment, answer, holding)
            assert found is None or held.state == "leased"
            if held.state != "leased":
                return multiple()
            if found is None:
                taken = self._act(lambda s: service.submit(s, person, assignment, key, ANSWERS[answer], now=self.now))
                assert taken.is_new
            held.state, held.answer = ("skipped" if answer == "skip" else "submitted"), answer
            rows = found.claimed.rows if found and found.claimed else []
            assert not rows or set(holding) == set(mine)
            for row in rows:
                assert row.comparison_id in self.model.servable(person.id, world.comparisons)
                until = row.assignment.lease_expires_at
                assert until == self.now + timedelta(seconds=LEASE)
                self.model.held[row.assignment.id] = Held(person.id, row.comparison_id, "leased", until)
            return multiple(*(row.assignment.id for row in rows))

        def _turn(self, person, assignment, answer, holding):
            if database.is_sqlite:
                return None
            given = ANSWERS[answer].model_dump() | {"next": {"count": 1, "holding": holding}}
            proof = sessions.proof_of(cookies[person.id], self.now, Settings(_env_file=None))
            with database.single_statements() as session:
                look = repository_turns.look(session, assignment, proof)
                return turns.take(
                    session,
                    look,
                    f"key-{assignment}",
                    AnswerAndNextIn.model_validate(given),
                    lease_seconds=LEASE,
                    now=self.now,
                    chance=random.Random(len(self.model.held)),
                )

        @rule(assignment=assignments, answer=answers)
        def edit(self, assignment, answer):
            held = self.model.held[assignment]
            person = by_id[held.person]
            action = lambda s: service.revise(s, person, ANSWERS[answer], assignment_id=assignment, now=self.now)  # noqa: E731  # a one-line act, run in two ways
            if held.answer is None:
                with pytest.raises(Exception, match="no answer of yours"):
                    self._act(action)
                return
            if held.answer == "skip" and answer != "skip" and not self.model.is_open(held.comparison):
                with pytest.raises(service.LeaseLost):
                    self._act(action)
                return
            revision = self._act(action).revision
            held.edits += answer != held.answer
            held.state, held.answer = ("skipped" if answer == "skip" else "submitted"), answer
            assert revision == 1 + held.edits

        @invariant()
        def the_database_says_what_the_model_says(self):
            with database.reading() as session:
                counters_hold(session)
                stored = {row.id: row.state for row in session.scalars(select(Assignment))}
                assert stored == {i: h.state for i, h in self.model.held.items()}
                votes = session.scalar(select(func.count()).select_from(Vote))
                assert votes == sum(h.answer not in (None, "skip") for h in self.model.held.values())

    return Judging


def test_judging_does_what_a_plain_model_does(database):
    wanted = 2
    world = build(database, comparisons=3, wanted=wanted)
    people = [add_annotator(database, world) for _ in range(3)]
    run_state_machine_as_test(
        machine(database, world, people, wanted),
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
