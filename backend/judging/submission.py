"""Answers taken in, and answers changed, with the counters and votes that follow from them."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Project
from backend.judging import (
    attention,
    mixing,
    overlap,
    repository,
    repository_answers,
    repository_leases,
    repository_standing,
)
from backend.judging.answers import Answer, Marked, Policy, read_answer, votes_of
from backend.judging.leases import AlreadyJudged, LeaseLost, lease_lost, no_such_assignment, retake, settings_of
from backend.judging.models import AssignmentState, ComparisonKind, Judgment, JudgmentMark, Mark, Outcome, Purpose
from backend.judging.repository_leases import OwnAssignment, ToAnswer
from backend.judging.repository_standing import Change, Noted
from backend.judging.schemas import AnswerIn
from backend.kit.database import utcnow
from backend.kit.errors import Conflict, NotFound


class Taken(NamedTuple):
    """An answer that is stored: the judgment, whether it is new, what it answers, and its author's counters then."""

    judgment: Judgment
    is_new: bool
    work: ToAnswer
    noted: Noted | None


def submit(
    session: Session, person: Person, assignment_id: int, key: str, given: AnswerIn, *, now: datetime | None = None
) -> Taken:
    """Stores the answer. The same key gives back what is stored.

    Raises AlreadyJudged under another key, Conflict where the key answered another comparison, LeaseLost where the
    lease ended and no slot is left to the person, Invalid where the answer cannot be one.
    """
    now = now or utcnow()
    work = _to_answer(session, person, assignment_id)
    assignment = work.assignment
    if assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SKIPPED):
        return Taken(_stored(session, person, assignment_id, key), False, work, None)
    answer = read_answer(given, work.kind, len(assignment.shown_order), policy_for(person, work))
    if assignment.state != AssignmentState.LEASED and not retake(session, assignment):
        _stored_elsewhere(session, person, key)
        raise lease_lost(assignment)
    right = mixing.judge_answer(
        session, assignment.purpose, assignment.comparison_id, person.id, mixing.said(answer, work.shown)
    )
    values = repository_answers.judgment_values(
        person, work, answer, key=key, seconds=given.seconds, agrees=right, now=now
    )
    change = Change(**_tally(answer, right, assignment.purpose), seconds=given.seconds)
    stored = _store(session, work, answer, values, change)
    if stored is None:
        _stored_elsewhere(session, person, key)
        raise AlreadyJudged("This answer is being stored already.", assignment_id=assignment.id)
    judgment_id, noted = stored
    judgment = Judgment(id=judgment_id, **values)
    rows = [] if answer.outcome is Outcome.SKIP else repository_answers.marks_of(judgment_id, answer, work.shown)
    judgment.marks = [JudgmentMark(**row) for row in rows]
    return Taken(judgment, True, work, noted)


def _store(
    session: Session, work: ToAnswer, answer: Answer, values: dict[str, Any], change: Change
) -> tuple[int, Noted | None] | None:
    """Stores an answer step by step: its id and its author's counters, or None where there is one already."""
    assignment, skips = work.assignment, answer.outcome is Outcome.SKIP
    final = AssignmentState.SKIPPED if skips else AssignmentState.SUBMITTED
    repository_leases.set_state(session, assignment.id, final, values["created_at"])
    judgment_id = repository_answers.insert_judgment(session, values)
    if judgment_id is None:
        return None
    _write(session, Judgment(id=judgment_id, **values), answer, work)
    if assignment.purpose == Purpose.REGULAR:
        _count(session, work, skips)
    return judgment_id, _note(session, work, values["person_id"], change)


def _to_answer(session: Session, person: Person, assignment_id: int) -> ToAnswer:
    work = repository_leases.lock_to_answer(session, assignment_id, person.id)
    if work is None:
        raise no_such_assignment()
    return work


def _stored(session: Session, person: Person, assignment_id: int, key: str) -> Judgment:
    """What is stored under the key, for an assignment that is answered already."""
    stored = repository_answers.judgment_by_key(session, person.id, key)
    if stored is None:
        raise AlreadyJudged(
            "You have answered this comparison already, perhaps in another window. Use undo to change the answer.",
            assignment_id=assignment_id,
        )
    if stored.assignment_id != assignment_id:
        raise _key_in_use()
    return stored


def _stored_elsewhere(session: Session, person: Person, key: str) -> None:
    if repository_answers.judgment_by_key(session, person.id, key) is not None:
        raise _key_in_use()


def _key_in_use() -> Conflict:
    return Conflict("This idempotency key has answered another comparison: make a new key for each answer.")


def _count(session: Session, work: ToAnswer, skips: bool) -> None:
    comparison_id = work.assignment.comparison_id
    if skips:
        repository.return_slot(session, comparison_id)
        return
    counted = repository.count_judgment(session, comparison_id, 1)
    overlap.ask_more_if_split(session, comparison_id, counted, settings_of(work.settings))


def _tally(answer: Answer, right: bool | None, purpose: Purpose | str) -> dict[str, int]:
    """What an answer counts to in its author's standing."""
    skips = answer.outcome is Outcome.SKIP
    is_gold = purpose == Purpose.GOLD and right is not None
    return {
        "done": int(not skips),
        "skipped": int(skips),
        "gold_seen": int(is_gold),
        "gold_right": int(is_gold and bool(right)),
    }


def _note(session: Session, work: ToAnswer, person_id: int, change: Change) -> Noted | None:
    """The person's counters now; None where they have just been paused."""
    noted = repository_standing.note(session, work.project_id, person_id, change)
    if not change.gold_seen:
        return noted
    rules = settings_of(work.settings)
    is_paused = attention.check(session, rules, work.project_id, person_id, noted.gold_seen, noted.gold_right)
    return None if is_paused else noted


def policy_for(person: Person, work: ToAnswer) -> Policy:
    # Simulated annotators have no words for what they were not told: nothing is asked of them.
    return Policy() if person.is_simulated else Policy.of(settings_of(work.settings))


def _write(session: Session, judgment: Judgment, answer: Answer, work: ToAnswer) -> None:
    repository_answers.write_answer(session, judgment, answer, work.shown)
    if judgment.purpose == Purpose.REGULAR:
        repository_answers.write_votes(session, judgment, votes_of(answer, work.shown), work)


def revise(
    session: Session,
    person: Person,
    given: AnswerIn,
    *,
    judgment_id: int | None = None,
    assignment_id: int | None = None,
    now: datetime | None = None,
) -> Judgment:
    """Changes one's own answer; what it said before is kept as a revision. The same answer again changes nothing."""
    now = now or utcnow()
    if judgment_id is not None:
        assignment_id = repository_answers.assignment_of(session, judgment_id, person.id)
    if assignment_id is None:
        raise NotFound("There is no such judgment of yours to change.")
    work = _to_answer(session, person, assignment_id)
    assignment = work.assignment
    judgment = repository_answers.judgment_of(session, assignment.id)
    if judgment is None:
        raise NotFound("This comparison has no answer of yours yet: submit one first.")
    before = stored_answer(judgment, len(assignment.shown_order))
    if judgment.outcome != Outcome.SKIP and is_revealed(work.kind, work.settings):
        raise Conflict("You have seen who made these two, so your vote on them stands.")
    answer = read_answer(given, work.kind, len(assignment.shown_order), policy_for(person, work))
    if answer == before:
        return judgment
    _move_counters(session, work, before, answer, now)
    was_right = judgment.agrees
    repository_answers.append_revision(session, judgment.id, judgment.revision, before.as_json(), judgment.updated_at)
    judgment.revision += 1
    judgment.outcome, judgment.skip_reason, judgment.comment = answer.outcome, answer.skip_reason, answer.comment
    judgment.strength = answer.strength
    judgment.agrees = mixing.judge_answer(
        session, assignment.purpose, assignment.comparison_id, person.id, mixing.said(answer, work.shown)
    )
    judgment.updated_at = now
    session.flush()
    repository_answers.forget_answer(session, judgment.id)
    _write(session, judgment, answer, work)
    session.refresh(judgment, ["marks"])
    old, new = _tally(before, was_right, assignment.purpose), _tally(answer, judgment.agrees, assignment.purpose)
    repository_standing.note(
        session, work.project_id, person.id, Change(**{name: new[name] - old[name] for name in new})
    )
    return judgment


def _move_counters(session: Session, work: ToAnswer, before: Answer, after: Answer, now: datetime) -> None:
    """Takes or returns the slot where a skip becomes an answer or an answer a skip."""
    assignment, counts = work.assignment, work.assignment.purpose == Purpose.REGULAR
    was_skip, is_skip = before.outcome is Outcome.SKIP, after.outcome is Outcome.SKIP
    if was_skip and not is_skip:
        if counts and not _takes_slot(session, assignment):
            raise LeaseLost(
                "You skipped this comparison and others have taken it since, so your skip stays as it is.",
                assignment_id=assignment.id,
            )
        repository_leases.set_state(session, assignment.id, AssignmentState.SUBMITTED, now)
        if counts:
            repository.count_judgment(session, assignment.comparison_id, 1)
    elif is_skip and not was_skip:
        repository_leases.set_state(session, assignment.id, AssignmentState.SKIPPED, now)
        if counts:
            repository.count_judgment(session, assignment.comparison_id, -1)
            repository.return_slot(session, assignment.comparison_id)


def _takes_slot(session: Session, assignment: OwnAssignment) -> bool:
    """Takes the slot that a skip gave back, as `retake` does; whether there was one for its person."""
    may_work = repository_leases.may_work(session, assignment)
    return may_work and repository.retake_slot(session, assignment.comparison_id)


def stored_answer(judgment: Judgment, count: int) -> Answer:
    """The answer a judgment (with its marks loaded) holds."""
    marks = [Marked(Mark.NONE)] * count
    for mark in judgment.marks:
        marks[mark.shown_position] = Marked(Mark(mark.mark), tuple(mark.reasons), tuple(mark.regions))
    return Answer(Outcome(judgment.outcome), tuple(marks), judgment.skip_reason, judgment.comment, judgment.strength)


def is_revealed(kind: ComparisonKind | str, settings: dict[str, Any]) -> bool:
    """Whether who has voted on a comparison of this kind is told who made its images."""
    return kind == ComparisonKind.ARENA and bool(settings_of(settings)["reveal_after_vote"])


def revealed(session: Session, judgment: Judgment) -> list[str] | None:
    """The generators' names in shown order, once an arena vote is given and the project tells; else None."""
    if judgment.outcome == Outcome.SKIP:
        return None
    kind = repository.facts(session, judgment.comparison_id).kind
    if not is_revealed(kind, session.get_one(Project, judgment.project_id).settings or {}):
        return None
    return repository_answers.generators_shown(session, judgment.id)
