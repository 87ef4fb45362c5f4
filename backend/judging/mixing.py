"""Known answers and repeats among the ordinary comparisons: when one is served, and whether it was answered so."""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from backend.judging import repository_mixing
from backend.judging.answers import Answer, ShownCandidate
from backend.judging.models import Mark, Outcome, Purpose
from backend.judging.repository import Servable


class Mixed(NamedTuple):
    """A comparison that is served although it needs no judgment."""

    comparison_id: int
    purpose: Purpose


def draw(
    session: Session,
    settings: dict[str, Any],
    of: Servable,
    chance: random.Random,
    has_other_work: Callable[[], bool],
) -> Mixed | None:
    """A known or repeated comparison where the dice say so and there is one; each item is drawn on its own, so that
    nothing about the order gives it away."""
    die = chance.random()
    # Only among ordinary work: whoever has nothing else left would know what these are.
    if die >= settings["gold_rate"] + settings["repeat_rate"] or not has_other_work():
        return None
    if die < settings["gold_rate"]:
        found, purpose = repository_mixing.gold_for(session, of.project_id, of.person_id), Purpose.GOLD
    else:
        found, purpose = repository_mixing.repeatable_for(session, of.project_id, of.person_id), Purpose.REPEAT
    return Mixed(chance.choice(found), purpose) if found else None


class Said(NamedTuple):
    """An answer by candidate, whatever the order it was shown in."""

    outcome: str
    marks: dict[int, str]


def said(answer: Answer, shown: Sequence[ShownCandidate]) -> Said:
    marks = {candidate.candidate_id: mark.mark.value for candidate, mark in zip(shown, answer.marks, strict=True)}
    return Said(answer.outcome.value, marks)


def agrees(given: Said, known: Said) -> bool:
    """Whether an answer says what is known: the same outcome, and every win and lose that is known.

    Candidates without a known mark may be marked as anybody likes.
    """
    if given.outcome != known.outcome:
        return False
    return all(given.marks.get(candidate) == mark for candidate, mark in known.marks.items() if mark != Mark.NONE)


def judge_answer(
    session: Session, purpose: Purpose | str, comparison_id: int, person_id: int, given: Said
) -> bool | None:
    """Whether a gold or repeated item was answered as known or as before; None for all else, and for skips."""
    if given.outcome == Outcome.SKIP:
        return None
    if purpose == Purpose.GOLD:
        known = repository_mixing.known_answer(session, comparison_id)
    elif purpose == Purpose.REPEAT:
        known = repository_mixing.earlier_answer(session, comparison_id, person_id)
    else:
        return None
    return None if known is None else agrees(given, Said(*known))
