"""What leads decide about serving: known answers, priorities, and annotators who pause, go on, or are judged anew."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.catalogue.models import Project
from backend.catalogue.repository import is_member, person_by_id
from backend.judging import (
    leases,
    lessons,
    repository_answers,
    repository_leases,
    repository_simulation,
    repository_standing,
    repository_supervision,
)
from backend.judging.models import Outcome
from backend.judging.submission import stored_answer
from backend.kit.errors import Invalid, NotFound

# Comparisons looked through for ones that an exact judge is sure of.
SEARCHED = 2000


def _annotator(session: Session, project: Project, person_id: int) -> Person:
    person = person_by_id(session, person_id)
    if person is None or not (is_member(session, project.id, person_id) or _has_worked(session, project, person_id)):
        raise NotFound(f"Person {person_id} neither belongs to this project nor has judged in it.")
    return person


def _has_worked(session: Session, project: Project, person_id: int) -> bool:
    return any(person.id == person_id for person, standing in repository_standing.standings(session, project.id))


def pause(session: Session, lead: Person, project: Project, person_id: int, words: str) -> None:
    """Serves this annotator nothing more and tells them `words`; what they hold goes to others."""
    person = _annotator(session, project, person_id)
    leased = repository_supervision.lock_work(session, project.id, person_id)
    repository_standing.set_pause(session, project.id, person_id, words.strip() or "A lead paused your work.", lead.id)
    _release_all(session, person, leased)
    audit(session, lead, "annotator.pause", "person", person_id, project=project.slug, words=words.strip())


def resume(session: Session, lead: Person, project: Project, person_id: int) -> None:
    """Lets this annotator go on; their known answers are counted anew."""
    _annotator(session, project, person_id)
    repository_standing.end_pause(session, project.id, person_id)
    audit(session, lead, "annotator.resume", "person", person_id, project=project.slug)


def set_quota(session: Session, lead: Person, project: Project, person_id: int, quota: int | None) -> None:
    """How many judgments this annotator may give; None goes back to the project's own number."""
    _annotator(session, project, person_id)
    repository_standing.set_quota(session, project.id, person_id, quota)
    audit(session, lead, "annotator.quota", "person", person_id, project=project.slug, quota=quota)


def requeue(session: Session, lead: Person, project: Project, person_id: int) -> int:
    """Sets all that this annotator has judged aside and has others judge it; how many answers.

    The answers stay readable, but no vote, pair or rating comes of them any more, and the annotator is not asked again.
    """
    person = _annotator(session, project, person_id)
    # An answer that is being stored or changed comes before all of this or after it.
    leased = repository_supervision.lock_work(session, project.id, person_id)
    repository_standing.lock_standing(session, project.id, person_id)
    _release_all(session, person, leased)
    count = repository_supervision.set_aside(session, project.id, person_id)
    audit(session, lead, "annotator.requeue", "person", person_id, project=project.slug, judgments=count)
    return count


def _release_all(session: Session, person: Person, leased: Sequence[int]) -> None:
    for assignment_id in leased:
        leases.release(session, person, assignment_id)


def set_priority(
    session: Session,
    lead: Person,
    project: Project,
    priority: int,
    *,
    kind: str | None = None,
    criterion: str | None = None,
    generator: int | None = None,
) -> int:
    """Puts open comparisons of this kind, criterion or generator before (or behind) the others; how many."""
    count = repository_supervision.set_priority(
        session, project.id, priority, kind=kind, criterion=criterion, generator=generator
    )
    audit(session, lead, "comparison.priority", "project", project.id, priority=priority, comparisons=count)
    return count


def make_gold(session: Session, lead: Person, project: Project, judgment_id: int, explanation: str) -> int:
    """Takes what a lead said of a comparison as its known answer; the comparison's id.

    Raises NotFound where there is no such judgment of theirs, Invalid for a skip.
    """
    assignment_id = repository_answers.assignment_of(session, judgment_id, lead.id)
    judgment = repository_answers.judgment_of(session, assignment_id) if assignment_id else None
    if judgment is None or judgment.project_id != project.id:
        raise NotFound(f"There is no judgment {judgment_id} of yours in this project: judge the comparison first.")
    if judgment.outcome == Outcome.SKIP:
        raise Invalid("You skipped this comparison, so there is no answer to expect: change your answer first.")
    row = repository_leases.assignment_row(session, judgment.assignment_id, lead.id)
    assert row is not None
    order = row.assignment.shown_order
    answer = stored_answer(judgment, len(order)).as_json()
    shown = dict(zip(order, answer["marks"], strict=True))
    expected = answer | {"choice": None, "marks": [shown[position] for position in range(len(order))]}
    repository_supervision.write_gold(session, project.id, judgment.comparison_id, expected, explanation.strip())
    audit(session, lead, "gold.create", "comparison", judgment.comparison_id, project=project.slug)
    return judgment.comparison_id


def make_gold_of_verdicts(session: Session, lead: Person, project: Project, count: int) -> int:
    """Takes the verdicts of an exact judge as known answers of comparisons nobody has had yet; how many.

    Raises Invalid where there is none that they settle.
    """
    made = 0
    for comparison_id, kind in repository_supervision.untouched_open(session, project.id, SEARCHED):
        if made == count:
            break
        showing = repository_leases.showing(session, comparison_id)
        verdicts = repository_simulation.known_verdicts(session, comparison_id, showing.candidates)
        answer = lessons.sure_answer(kind, verdicts) if verdicts else None
        if answer is not None:
            repository_supervision.write_gold(session, project.id, comparison_id, answer.as_json(), "")
            made += 1
    if not made:
        raise Invalid(
            "No comparison here that is still untouched has verdicts of an exact judge that settle it: judge some "
            "yourself and make those known instead."
        )
    audit(session, lead, "gold.create_by_verdicts", "project", project.id, comparisons=made)
    return made


def retire_gold(session: Session, lead: Person, project: Project, comparison_id: int) -> None:
    """Serves a known answer no more; what was said to it stays."""
    if not repository_supervision.retire_gold(session, project.id, comparison_id):
        raise NotFound(f"Comparison {comparison_id} has no known answer in this project.")
    audit(session, lead, "gold.retire", "comparison", comparison_id, project=project.slug)
