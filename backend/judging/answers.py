"""Answers as values: what may be said of each kind of comparison, and the votes that follow. No database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from backend.judging.models import REASONS, ComparisonKind, Mark, Outcome, VoteOutcome
from backend.judging.schemas import AnswerIn, AnswerOut, MarkIn
from backend.kit.errors import Invalid

LEFT, RIGHT = 0, 1
_ALLOWED = {
    ComparisonKind.WIN_LOSE: (Outcome.MARKS, Outcome.SKIP),
    ComparisonKind.PAIRWISE: (Outcome.CHOICE, Outcome.TIE, Outcome.BOTH_BAD, Outcome.SKIP),
    ComparisonKind.ARENA: (Outcome.CHOICE, Outcome.TIE, Outcome.BOTH_BAD, Outcome.SKIP),
}


@dataclass(frozen=True)
class Answer:
    """A valid answer: `marks` holds one (mark, reasons) a candidate, in shown order."""

    outcome: Outcome
    marks: tuple[tuple[Mark, tuple[str, ...]], ...]
    skip_reason: str | None = None
    comment: str = ""

    def as_out(self) -> AnswerOut:
        choice: Literal["left", "right"] | None = None
        reasons: tuple[str, ...] = ()
        if self.outcome is Outcome.CHOICE:
            choice = "left" if self.marks[LEFT][0] is Mark.WIN else "right"
            reasons = self.marks[RIGHT if choice == "left" else LEFT][1]
        return AnswerOut(
            outcome=self.outcome,
            choice=choice,
            reasons=list(reasons),
            marks=[MarkIn.model_construct(mark=mark, reasons=list(given)) for mark, given in self.marks],
            skip_reason=self.skip_reason,
            comment=self.comment,
        )

    def as_json(self) -> dict[str, Any]:
        return self.as_out().model_dump(mode="json")


class ShownCandidate(NamedTuple):
    """A candidate of a comparison, in shown order."""

    candidate_id: int
    generator_id: int


class VoteValue(NamedTuple):
    """A pairwise consequence of an answer; candidate_a < candidate_b."""

    candidate_a: int
    candidate_b: int
    generator_a: int
    generator_b: int
    outcome: VoteOutcome
    a_shown_first: bool


def _refuse(field: str, message: str) -> Invalid:
    return Invalid(message, errors=[{"field": field, "message": message}])


def _unique(reasons: Sequence[str]) -> tuple[str, ...]:
    return tuple(reason for reason in REASONS if reason in reasons)


def read_answer(given: AnswerIn, kind: ComparisonKind, count: int) -> Answer:
    """The answer as a value; Invalid names the field that is wrong and the way out."""
    allowed = _ALLOWED[kind]
    if given.outcome not in allowed:
        names = ", ".join(outcome.value for outcome in allowed)
        raise _refuse("outcome", f"“{given.outcome.value}” cannot answer a {kind.value} comparison: use {names}.")
    unmarked = tuple((Mark.NONE, ()) for _ in range(count))
    if given.outcome is Outcome.SKIP:
        if given.skip_reason is None:
            raise _refuse("skip_reason", "Say why you skip: cannot_tell, broken_image, unclear_task or uncomfortable.")
        return Answer(Outcome.SKIP, unmarked, given.skip_reason, given.comment.strip())
    if given.skip_reason is not None:
        raise _refuse("skip_reason", "A skip_reason goes only with the outcome “skip”.")
    if given.outcome is Outcome.MARKS:
        marks = _read_marks(given, count)
    elif given.outcome is Outcome.CHOICE:
        marks = _read_choice(given)
    else:
        if given.choice or given.reasons or given.marks:
            raise _refuse("outcome", f"“{given.outcome.value}” stands alone: leave out choice, reasons and marks.")
        marks = unmarked if given.outcome is Outcome.TIE else tuple((Mark.LOSE, ()) for _ in range(count))
    comment = given.comment.strip()
    if any("other" in reasons for _, reasons in marks) and not comment:
        raise _refuse("comment", "The reason “other” needs a few words: write them in `comment`.")
    return Answer(given.outcome, marks, None, comment)


def _read_marks(given: AnswerIn, count: int) -> tuple[tuple[Mark, tuple[str, ...]], ...]:
    if given.choice or given.reasons:
        raise _refuse("choice", "Win/lose answers have `marks` only: put the reasons beside the mark they belong to.")
    if given.marks is None or len(given.marks) != count:
        got = 0 if given.marks is None else len(given.marks)
        raise _refuse("marks", f"{count} candidates are shown, so `marks` needs {count} entries; it has {got}.")
    for position, entry in enumerate(given.marks):
        if entry.reasons and entry.mark is not Mark.LOSE:
            raise _refuse(f"marks.{position}.reasons", "Reasons belong to a losing candidate: mark it “lose” first.")
    if all(entry.mark is Mark.NONE for entry in given.marks):
        raise _refuse("marks", "Mark at least one candidate as win or lose, or skip the comparison with a reason.")
    return tuple((entry.mark, _unique(entry.reasons)) for entry in given.marks)


def _read_choice(given: AnswerIn) -> tuple[tuple[Mark, tuple[str, ...]], ...]:
    if given.marks is not None:
        raise _refuse("marks", "A choice says left or right: give `choice` and `reasons`, not `marks`.")
    if given.choice is None:
        raise _refuse("choice", "Say which one is better: `choice` must be left or right.")
    winner, loser = (Mark.WIN, ()), (Mark.LOSE, _unique(given.reasons))
    return (winner, loser) if given.choice == "left" else (loser, winner)


def votes_of(answer: Answer, shown: Sequence[ShownCandidate]) -> list[VoteValue]:
    """One vote for every (win, lose) pair, or one for the tie or the both-bad of a pair. A skip votes for nothing."""
    if answer.outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        outcome = VoteOutcome.TIE if answer.outcome is Outcome.TIE else VoteOutcome.BOTH_BAD
        return [_vote(shown, LEFT, RIGHT, outcome)]
    winners = [position for position, (mark, _) in enumerate(answer.marks) if mark is Mark.WIN]
    losers = [position for position, (mark, _) in enumerate(answer.marks) if mark is Mark.LOSE]
    return [_vote(shown, winner, loser, VoteOutcome.A) for winner in winners for loser in losers]


def _vote(shown: Sequence[ShownCandidate], first: int, second: int, outcome: VoteOutcome) -> VoteValue:
    """The vote “`first` beats `second`” (or a symmetric one) with its candidates in the order of their ids."""
    if shown[first].candidate_id > shown[second].candidate_id:
        first, second = second, first
        outcome = VoteOutcome.B if outcome is VoteOutcome.A else outcome
    a, b = shown[first], shown[second]
    return VoteValue(a.candidate_id, b.candidate_id, a.generator_id, b.generator_id, outcome, first < second)
