"""Answers taken in, and answers changed, with the counters and votes that follow from them."""

from datetime import datetime

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Project
from backend.judging import repository, repository_answers
from backend.judging.answers import Answer, Marked, Policy, read_answer, votes_of
from backend.judging.leases import AlreadyJudged, LeaseLost, judging_settings, lease_lost, own_assignment, retake
from backend.judging.models import Assignment, AssignmentState, ComparisonKind, Judgment, Mark, Outcome
from backend.judging.repository import ComparisonFacts
from backend.judging.schemas import AnswerIn
from backend.kit.database import utcnow
from backend.kit.errors import Conflict, NotFound


def submit(
    session: Session, person: Person, assignment_id: int, key: str, given: AnswerIn, *, now: datetime | None = None
) -> tuple[Judgment, bool]:
    """Stores the answer; (judgment, whether it is new). The same key gives back what is stored.

    Raises AlreadyJudged under another key, Conflict where the key answered another comparison, LeaseLost where the
    lease ran out and no slot is left, Invalid where the answer cannot be one.
    """
    now = now or utcnow()
    assignment = own_assignment(session, person, assignment_id)
    stored = repository_answers.judgment_by_key(session, person.id, key)
    if stored is not None:
        if stored.assignment_id != assignment_id:
            raise Conflict("This idempotency key has answered another comparison: make a new key for each answer.")
        return stored, False
    if assignment.state in (AssignmentState.SUBMITTED, AssignmentState.SKIPPED):
        raise AlreadyJudged(
            "You have answered this comparison already, perhaps in another window. Use undo to change the answer.",
            assignment_id=assignment.id,
        )
    facts = repository.facts(session, assignment.comparison_id)
    answer = read_answer(given, facts.kind, len(assignment.shown_order), _policy(session, person, facts))
    skips = answer.outcome is Outcome.SKIP
    final = AssignmentState.SKIPPED if skips else AssignmentState.SUBMITTED
    if assignment.state == AssignmentState.LEASED:
        assignment.state = final
    elif not retake(session, assignment, final):
        raise lease_lost(assignment)
    assignment.ended_at = now
    judgment = Judgment(
        assignment_id=assignment.id,
        comparison_id=assignment.comparison_id,
        project_id=facts.project_id,
        person_id=person.id,
        idempotency_key=key,
        outcome=answer.outcome,
        skip_reason=answer.skip_reason,
        comment=answer.comment,
        strength=answer.strength,
        seconds=given.seconds,
        is_simulated=person.is_simulated,
        created_at=now,
        updated_at=now,
    )
    session.add(judgment)
    session.flush()
    if skips:
        repository.return_slot(session, assignment.comparison_id)
    else:
        repository.count_judgment(session, assignment.comparison_id, 1)
    _write(session, assignment, judgment, answer, facts)
    return judgment, True


def _policy(session: Session, person: Person, facts: ComparisonFacts) -> Policy:
    # Simulated annotators have no words for what they were not told: nothing is asked of them.
    if person.is_simulated:
        return Policy()
    return Policy.of(judging_settings(session.get_one(Project, facts.project_id)))


def _write(
    session: Session, assignment: Assignment, judgment: Judgment, answer: Answer, facts: ComparisonFacts
) -> None:
    shown = repository.shown_candidates(session, assignment.comparison_id, assignment.shown_order)
    repository_answers.write_answer(session, judgment, answer, shown)
    repository_answers.write_votes(session, judgment, votes_of(answer, shown), facts)
    session.refresh(judgment, ["marks"])


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
    assignment = own_assignment(session, person, assignment_id)
    judgment = repository_answers.judgment_of(session, assignment.id)
    if judgment is None:
        raise NotFound("This comparison has no answer of yours yet: submit one first.")
    before = stored_answer(judgment, len(assignment.shown_order))
    facts = repository.facts(session, assignment.comparison_id)
    if judgment.outcome != Outcome.SKIP and is_revealed(session, facts):
        raise Conflict("You have seen who made these two, so your vote on them stands.")
    answer = read_answer(given, facts.kind, len(assignment.shown_order), _policy(session, person, facts))
    if answer == before:
        return judgment
    _move_counters(session, assignment, before, answer)
    repository_answers.append_revision(session, judgment.id, judgment.revision, before.as_json(), judgment.updated_at)
    judgment.revision += 1
    judgment.outcome, judgment.skip_reason, judgment.comment = answer.outcome, answer.skip_reason, answer.comment
    judgment.strength = answer.strength
    judgment.updated_at = now
    session.flush()
    repository_answers.forget_answer(session, judgment.id)
    _write(session, assignment, judgment, answer, facts)
    return judgment


def _move_counters(session: Session, assignment: Assignment, before: Answer, after: Answer) -> None:
    was_skip, is_skip = before.outcome is Outcome.SKIP, after.outcome is Outcome.SKIP
    if was_skip and not is_skip:
        if not repository.retake_slot(session, assignment.comparison_id):
            raise LeaseLost(
                "You skipped this comparison and others have taken it since, so your skip stays as it is.",
                assignment_id=assignment.id,
            )
        assignment.state = AssignmentState.SUBMITTED
        repository.count_judgment(session, assignment.comparison_id, 1)
    elif is_skip and not was_skip:
        assignment.state = AssignmentState.SKIPPED
        repository.count_judgment(session, assignment.comparison_id, -1)
        repository.return_slot(session, assignment.comparison_id)
    session.flush()


def stored_answer(judgment: Judgment, count: int) -> Answer:
    """The answer a judgment (with its marks loaded) holds."""
    marks = [Marked(Mark.NONE)] * count
    for mark in judgment.marks:
        marks[mark.shown_position] = Marked(Mark(mark.mark), tuple(mark.reasons), tuple(mark.regions))
    return Answer(Outcome(judgment.outcome), tuple(marks), judgment.skip_reason, judgment.comment, judgment.strength)


def is_revealed(session: Session, facts: ComparisonFacts) -> bool:
    """Whether who has voted on this comparison is told who made its images."""
    if facts.kind is not ComparisonKind.ARENA:
        return False
    return bool(judging_settings(session.get_one(Project, facts.project_id))["reveal_after_vote"])


def revealed(session: Session, judgment: Judgment) -> list[str] | None:
    """The generators' names in shown order, once an arena vote is given and the project tells; else None."""
    if judgment.outcome == Outcome.SKIP or not is_revealed(session, repository.facts(session, judgment.comparison_id)):
        return None
    return repository_answers.generators_shown(session, judgment.id)
