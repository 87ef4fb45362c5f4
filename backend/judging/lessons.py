"""The rules of teaching: lessons with a known answer, the practice round, and the test that opens real work.

Never commits. Nothing said here is a judgment: lessons have no votes and no pairs.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from backend.accounts.models import Person, Role
from backend.accounts.service import audit
from backend.catalogue.models import Project
from backend.judging import repository, repository_lessons, repository_simulation
from backend.judging.answers import Answer, Marked, read_answer
from backend.judging.leases import judging_settings
from backend.judging.models import REASONS, ComparisonKind, Mark, Outcome
from backend.judging.models_lessons import Lesson, LessonPurpose, Qualification, QualificationAnswer, QualificationState
from backend.judging.repository_lessons import ShownLesson
from backend.judging.schemas import AnswerIn, AnswerOut
from backend.judging.submission import stored_answer
from backend.kit.database import utcnow
from backend.kit.errors import Conflict, Invalid, NotFound

# A longer round tires before it teaches.
MAX_PRACTICE = 20
MAX_TEST = 30
# How many comparisons are looked at to find some whose answer an exact judge is sure of.
SEARCHED = 400


@dataclass(frozen=True)
class Standing:
    """Where a person stands with a project's test; `correct` and `total` are of the last attempt."""

    needed: bool
    passed: bool
    is_open: bool
    attempts_left: int
    correct: int = 0
    total: int = 0
    pass_mark: int = 0
    has_ended: bool = False


# Answering


def shown_order(lesson: Lesson, person: Person) -> list[int]:
    """The places of the lesson's candidates from left to right, for this person always the same."""
    order = list(range(len(lesson.candidate_ids)))
    random.Random(f"lesson {lesson.id} of person {person.id}").shuffle(order)
    return order


def expected_answer(lesson: Lesson, order: Sequence[int]) -> Answer:
    """The answer expected, as it looks in this order."""
    stored = AnswerOut.model_validate(lesson.expected)
    marks = [
        Marked(
            Mark(each.mark), tuple(each.reasons), tuple(region.model_dump(exclude_none=True) for region in each.regions)
        )
        for each in stored.marks
    ]
    return Answer(Outcome(stored.outcome), tuple(marks[place] for place in order), None, stored.comment)


def is_right(given: Answer, expected: Answer) -> bool:
    """Whether an answer says what is expected; candidates that nothing is expected of may be marked as one likes."""
    if given.outcome is not expected.outcome:
        return False
    wanted = [(given.marks[place].mark, mark.mark) for place, mark in enumerate(expected.marks)]
    return all(said is mark for said, mark in wanted if mark is not Mark.NONE)


def grade(person: Person, lesson: Lesson, given: AnswerIn) -> tuple[bool, Answer, Answer]:
    """(right, the answer given, the answer expected), both in the order shown. Raises Invalid."""
    order = shown_order(lesson, person)
    if given.outcome is Outcome.SKIP:
        message = "A lesson is not skipped: say what you see."
        raise Invalid(message, errors=[{"field": "outcome", "message": message}])
    answer = read_answer(given, ComparisonKind(lesson.kind), len(order))
    expected = expected_answer(lesson, order)
    return is_right(answer, expected), answer, expected


def lesson_for(session: Session, person: Person, lesson_id: int) -> Lesson:
    """A lesson of one of the person's projects. Raises NotFound."""
    lesson = repository_lessons.lesson_for(session, lesson_id, person.id, everywhere=person.role == Role.ADMIN)
    if lesson is None:
        raise NotFound("There is no such lesson in your projects.")
    return lesson


def practice_lesson(session: Session, project: Project, lesson_id: int) -> Lesson:
    """A lesson of the practice round. Raises NotFound, for questions of the test too: their answers are not told."""
    lesson = repository_lessons.lesson_of_project(session, project.id, lesson_id)
    if lesson is None or lesson.purpose != LessonPurpose.PRACTICE or lesson.is_retired:
        raise NotFound("There is no such lesson to practise on in this project.")
    return lesson


def practice(session: Session, project: Project) -> list[ShownLesson]:
    ids = repository_lessons.lesson_ids(session, project.id, LessonPurpose.PRACTICE)[:MAX_PRACTICE]
    return repository_lessons.lessons(session, ids)


# The test


def must_qualify(session: Session, project: Project, person: Person) -> bool:
    """Whether the person gets no real work before they have passed; leads and simulated annotators need no test."""
    if person.role != Role.ANNOTATOR or person.is_simulated:
        return False
    if not judging_settings(project)["qualification_required"]:
        return False
    return not repository_lessons.has_passed(session, project.id, person.id)


def standing(session: Session, project: Project, person: Person) -> Standing:
    settings = judging_settings(project)
    attempts = repository_lessons.qualifications(session, project.id, person.id)
    last = next((each for each in attempts if each.state != QualificationState.OPEN), None)
    return Standing(
        needed=must_qualify(session, project, person),
        passed=any(each.state == QualificationState.PASSED for each in attempts),
        is_open=any(each.state == QualificationState.OPEN for each in attempts),
        attempts_left=max(0, settings["qualification_attempts"] - len(attempts)),
        correct=last.correct if last else 0,
        total=len(last.lesson_ids) if last else 0,
        pass_mark=last.pass_mark if last else settings["qualification_pass_mark"],
        has_ended=last is not None,
    )


def take_test(session: Session, project: Project, person: Person) -> tuple[Qualification, list[ShownLesson]]:
    """The attempt under way, or a new one, with the questions still to be answered.

    Raises NotFound where there is no test and Conflict where it is passed or all attempts are used.
    """
    found = repository_lessons.lock_open(session, project.id, person.id)
    if found is None:
        _begin(session, project, person)
        found = repository_lessons.lock_open(session, project.id, person.id)
        assert found is not None
    done = repository_lessons.answered(session, found.id)
    left = [each for each in found.lesson_ids if each not in done]
    return found, repository_lessons.lessons(session, left)


def _begin(session: Session, project: Project, person: Person) -> None:
    before = repository_lessons.qualifications(session, project.id, person.id)
    settings = judging_settings(project)
    if any(each.state == QualificationState.PASSED for each in before):
        raise Conflict("You have passed this test already: go and judge.")
    if len(before) >= settings["qualification_attempts"]:
        raise Conflict("You have used all attempts at this test. Ask the lead of the project for another one.")
    ids = repository_lessons.lesson_ids(session, project.id, LessonPurpose.QUALIFICATION)
    if not ids:
        raise NotFound("The lead of this project has not prepared its test yet.")
    number = len(before) + 1
    random.Random(f"test {number} of person {person.id} in project {project.id}").shuffle(ids)
    values: dict[str, Any] = {
        "project_id": project.id,
        "person_id": person.id,
        "number": number,
        "state": QualificationState.OPEN.value,
        "lesson_ids": ids[:MAX_TEST],
        "correct": 0,
        "pass_mark": settings["qualification_pass_mark"],
        "created_at": utcnow(),
    }
    repository_lessons.open_qualification(session, values)


def answer_question(
    session: Session, project: Project, person: Person, lesson_id: int, given: AnswerIn
) -> Qualification:
    """Stores the answer to one question of the attempt under way; the last one ends it.

    A question is answered once: sent again, the first answer stands and nothing changes. Raises NotFound where the
    question is not of this attempt, Invalid where the answer cannot be one.
    """
    found = repository_lessons.lock_open(session, project.id, person.id)
    if found is None:
        ended = repository_lessons.qualifications(session, project.id, person.id)
        if ended and lesson_id in ended[0].lesson_ids:
            return ended[0]
        raise NotFound("You are not taking this test now: begin it first.")
    if lesson_id not in found.lesson_ids:
        raise NotFound("This question does not belong to your test.")
    done = repository_lessons.answered(session, found.id)
    if lesson_id in done:
        return found
    right, answer, _ = grade(person, lesson_for(session, person, lesson_id), given)
    session.add(
        QualificationAnswer(qualification_id=found.id, lesson_id=lesson_id, answer=answer.as_json(), is_correct=right)
    )
    done[lesson_id] = right
    found.correct = sum(done.values())
    if len(done) == len(found.lesson_ids):
        passed = 100 * found.correct >= found.pass_mark * len(found.lesson_ids)
        found.state = QualificationState.PASSED if passed else QualificationState.FAILED
        found.ended_at = utcnow()
        audit(session, person, "qualification.end", "project", project.id, passed=passed, correct=found.correct)
    session.flush()
    return found


# Making lessons


def teach_from_judgment(
    session: Session, person: Person, project: Project, judgment_id: int, purpose: LessonPurpose, explanation: str
) -> int:
    """Makes a lesson of what the person said of a comparison. Raises NotFound, and Invalid for a skip."""
    own = {each.id: each for each in repository_lessons.own_judgments(session, project.id, person.id, SEARCHED)}
    judgment = own.get(judgment_id)
    if judgment is None:
        raise NotFound("There is no such judgment among your latest: judge the comparison first.")
    facts = repository.facts(session, judgment.comparison_id)
    candidates = repository_lessons.candidates_judged(judgment)
    expected = stored_answer(judgment, len(candidates))
    kind = ComparisonKind(facts.kind)
    lesson = _store(session, project, purpose, kind, facts, candidates, expected, explanation)
    audit(session, person, "lesson.create", "lesson", lesson, purpose=purpose.value)
    return lesson


def teach_from_verdicts(
    session: Session, person: Person, project: Project, *, practice: int, test: int
) -> tuple[int, int]:
    """Makes lessons of comparisons that an exact judge is sure of; (for practice, for the test) made.

    Raises Invalid where there is none to be found.
    """
    made = {LessonPurpose.PRACTICE: 0, LessonPurpose.QUALIFICATION: 0}
    wanted = {LessonPurpose.PRACTICE: practice, LessonPurpose.QUALIFICATION: test}
    seen: set[str] = set()
    for comparison_id in repository_lessons.comparisons_with_verdicts(session, project.id, SEARCHED):
        purpose = next((each for each in wanted if made[each] < wanted[each]), None)
        if purpose is None:
            break
        facts = repository.facts(session, comparison_id)
        entries = repository_lessons.entries(session, comparison_id)
        candidates = list(entries.values())
        verdicts = repository_simulation.verdicts_shown(session, comparison_id, list(entries))
        expected = sure_answer(ComparisonKind(facts.kind), verdicts)
        if expected is None or _hash(candidates) in seen:
            continue
        seen.add(_hash(candidates))
        _store(session, project, purpose, ComparisonKind(facts.kind), facts, candidates, expected, "")
        made[purpose] += 1
    if not sum(made.values()):
        raise Invalid("No comparison here has verdicts of an exact judge that settle it: judge some yourself instead.")
    audit(session, person, "lesson.create_by_verdicts", "project", project.id, **{str(k): v for k, v in made.items()})
    return made[LessonPurpose.PRACTICE], made[LessonPurpose.QUALIFICATION]


def sure_answer(kind: ComparisonKind, verdicts: Sequence[Any]) -> Answer | None:
    """The answer that an exact judge's verdicts settle, in their order; None where they all say the same."""
    if len({verdict.rational for verdict in verdicts}) != 2:
        return None
    marks = tuple(
        Marked(Mark.WIN)
        if verdict.rational
        else Marked(Mark.LOSE, tuple(reason for reason in REASONS if reason in verdict.reasons))
        for verdict in verdicts
    )
    return Answer(Outcome.MARKS if kind is ComparisonKind.WIN_LOSE else Outcome.CHOICE, marks)


def _hash(candidates: Sequence[int]) -> str:
    return hashlib.sha256(",".join(map(str, sorted(candidates))).encode()).hexdigest()


def _store(
    session: Session,
    project: Project,
    purpose: LessonPurpose,
    kind: ComparisonKind,
    facts: repository.ComparisonFacts,
    candidates: Sequence[int],
    expected: Answer,
    explanation: str,
) -> int:
    return repository_lessons.store_lesson(
        session,
        {
            "project_id": project.id,
            "purpose": purpose.value,
            "kind": kind.value,
            "criterion": facts.criterion.value,
            "condition_id": facts.condition_id,
            "candidate_ids": list(candidates),
            "candidates_hash": _hash(candidates),
            "expected": expected.as_json(),
            "explanation": explanation.strip(),
            "is_retired": False,
            "created_at": utcnow(),
        },
    )


def retire_lesson(session: Session, person: Person, project: Project, lesson_id: int) -> None:
    """Takes a lesson out of use; answers given to it stay."""
    lesson = repository_lessons.lesson_of_project(session, project.id, lesson_id)
    if lesson is None:
        raise NotFound("There is no such lesson in this project.")
    lesson.is_retired = True
    session.flush()
    audit(session, person, "lesson.retire", "lesson", lesson_id)


def grant_attempts(session: Session, person: Person, project: Project, annotator_id: int) -> None:
    """Lets an annotator begin anew, as if they had not tried."""
    forgotten = repository_lessons.forget_attempts(session, project.id, annotator_id)
    audit(session, person, "qualification.grant", "person", annotator_id, project=project.id, forgotten=forgotten)
