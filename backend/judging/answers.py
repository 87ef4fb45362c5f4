"""Answers as values: what may be said of each kind of comparison, and the votes that follow. No database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from backend.judging.models import REASONS, ComparisonKind, Mark, Outcome, VoteOutcome
from backend.judging.schemas import AnswerIn, AnswerOut, MarkIn, Region
from backend.kit.errors import Invalid

LEFT, RIGHT = 0, 1
_OF_TWO = (Outcome.CHOICE, Outcome.TIE, Outcome.BOTH_GOOD, Outcome.BOTH_BAD, Outcome.SKIP)
_ALLOWED = {
    ComparisonKind.WIN_LOSE: (Outcome.MARKS, Outcome.SKIP),
    ComparisonKind.PAIRWISE: _OF_TWO,
    ComparisonKind.ARENA: _OF_TWO,
}
# What an answer without a winner says of each of the two.
_BOTH = {Outcome.TIE: Mark.NONE, Outcome.BOTH_GOOD: Mark.WIN, Outcome.BOTH_BAD: Mark.LOSE}


@dataclass(frozen=True)
class Policy:
    """What a project asks of an answer; the names are those of its settings."""

    reasons: str = "optional"
    allow_incomplete: bool = False
    best_worst: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Policy":
        return cls(**{name: settings[name] for name in ("reasons", "allow_incomplete", "best_worst")})


class Marked(NamedTuple):
    """What is said of one candidate; `regions` are as `JudgmentMark.regions`."""

    mark: Mark
    reasons: tuple[str, ...] = ()
    regions: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class Answer:
    """A valid answer: `marks` holds one a candidate, in shown order."""

    outcome: Outcome
    marks: tuple[Marked, ...]
    skip_reason: str | None = None
    comment: str = ""
    strength: int | None = None

    def as_out(self) -> AnswerOut:
        choice: Literal["left", "right"] | None = None
        loser = Marked(Mark.NONE)
        if self.outcome is Outcome.CHOICE:
            choice = "left" if self.marks[LEFT].mark is Mark.WIN else "right"
            loser = self.marks[RIGHT if choice == "left" else LEFT]
        return AnswerOut(
            outcome=self.outcome,
            choice=choice,
            strength=self.strength,
            reasons=list(loser.reasons),
            regions=[Region(**region) for region in loser.regions],
            marks=[
                MarkIn.model_construct(mark=mark, reasons=list(reasons), regions=[Region(**each) for each in regions])
                for mark, reasons, regions in self.marks
            ],
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


def _places(regions: Sequence[Region]) -> tuple[dict[str, float], ...]:
    # Four decimals are finer than a pixel of any image shown.
    return tuple(
        {name: round(value, 4) for name, value in region.model_dump(exclude_none=True).items()} for region in regions
    )


def read_answer(given: AnswerIn, kind: ComparisonKind, count: int, policy: Policy = Policy()) -> Answer:
    """The answer as a value; Invalid names the field that is wrong and the way out."""
    allowed = _ALLOWED[kind]
    if given.outcome not in allowed:
        names = ", ".join(outcome.value for outcome in allowed)
        raise _refuse("outcome", f"“{given.outcome.value}” cannot answer a {kind.value} comparison: use {names}.")
    if given.outcome is Outcome.SKIP:
        if given.skip_reason is None:
            raise _refuse("skip_reason", "Say why you skip: cannot_tell, broken_image, unclear_task or uncomfortable.")
        return Answer(Outcome.SKIP, (Marked(Mark.NONE),) * count, given.skip_reason, given.comment.strip())
    if given.skip_reason is not None:
        raise _refuse("skip_reason", "A skip_reason goes only with the outcome “skip”.")
    if given.strength is not None and given.outcome is not Outcome.CHOICE:
        raise _refuse("strength", "A strength goes only with the outcome “choice”: leave it out.")
    if given.outcome is Outcome.MARKS:
        marks = _read_marks(given, count, policy)
    elif given.outcome is Outcome.CHOICE:
        marks = _read_choice(given)
    else:
        if given.choice or given.reasons or given.regions or given.marks:
            raise _refuse("outcome", f"“{given.outcome.value}” stands alone: leave out choice, reasons and marks.")
        marks = (Marked(_BOTH[given.outcome]),) * count
    comment = given.comment.strip()
    if any("other" in each.reasons for each in marks) and not comment:
        raise _refuse("comment", "The reason “other” needs a few words: write them in `comment`.")
    if policy.reasons == "required" and given.outcome in (Outcome.MARKS, Outcome.CHOICE):
        _insist_on_reasons(given, marks)
    return Answer(given.outcome, marks, None, comment, given.strength)


def _insist_on_reasons(given: AnswerIn, marks: Sequence[Marked]) -> None:
    for position, each in enumerate(marks):
        if each.mark is Mark.LOSE and not each.reasons:
            field = "reasons" if given.outcome is Outcome.CHOICE else f"marks.{position}.reasons"
            raise _refuse(
                field,
                f"This project asks why an image loses: give image {position + 1} at least one of scale, position, "
                "viewpoint, other.",
            )


def _read_marks(given: AnswerIn, count: int, policy: Policy) -> tuple[Marked, ...]:
    if given.choice or given.reasons or given.regions:
        raise _refuse("choice", "Win/lose answers have `marks` only: put the reasons beside the mark they belong to.")
    if given.marks is None or len(given.marks) != count:
        got = 0 if given.marks is None else len(given.marks)
        raise _refuse("marks", f"{count} candidates are shown, so `marks` needs {count} entries; it has {got}.")
    for position, entry in enumerate(given.marks):
        if entry.reasons and entry.mark is not Mark.LOSE:
            raise _refuse(f"marks.{position}.reasons", "Reasons belong to a losing candidate: mark it “lose” first.")
        if entry.regions and entry.mark is not Mark.LOSE:
            raise _refuse(f"marks.{position}.regions", "Regions belong to a losing candidate: mark it “lose” first.")
    said = [entry.mark for entry in given.marks]
    if policy.best_worst:
        if (said.count(Mark.WIN), said.count(Mark.LOSE)) != (1, 1):
            raise _refuse("marks", "This project asks for the best and the worst: mark exactly one win and one lose.")
    elif set(said) == {Mark.NONE} and not policy.allow_incomplete:
        raise _refuse("marks", "Mark at least one candidate as win or lose, or skip the comparison with a reason.")
    return tuple(Marked(entry.mark, _unique(entry.reasons), _places(entry.regions)) for entry in given.marks)


def _read_choice(given: AnswerIn) -> tuple[Marked, ...]:
    if given.marks is not None:
        raise _refuse("marks", "A choice says left or right: give `choice` and `reasons`, not `marks`.")
    if given.choice is None:
        raise _refuse("choice", "Say which one is better: `choice` must be left or right.")
    winner, loser = Marked(Mark.WIN), Marked(Mark.LOSE, _unique(given.reasons), _places(given.regions))
    return (winner, loser) if given.choice == "left" else (loser, winner)


def votes_of(answer: Answer, shown: Sequence[ShownCandidate]) -> list[VoteValue]:
    """One vote for every (win, lose) pair, or one for the tie or the both-bad of a pair. A skip votes for nothing."""
    if answer.outcome in _BOTH:
        # Both good is a tie between them; that both are good, their marks say.
        outcome = VoteOutcome.BOTH_BAD if answer.outcome is Outcome.BOTH_BAD else VoteOutcome.TIE
        return [_vote(shown, LEFT, RIGHT, outcome)]
    winners = [position for position, each in enumerate(answer.marks) if each.mark is Mark.WIN]
    losers = [position for position, each in enumerate(answer.marks) if each.mark is Mark.LOSE]
    return [_vote(shown, winner, loser, VoteOutcome.A) for winner in winners for loser in losers]


def _vote(shown: Sequence[ShownCandidate], first: int, second: int, outcome: VoteOutcome) -> VoteValue:
    """The vote “`first` beats `second`” (or a symmetric one) with its candidates in the order of their ids."""
    if shown[first].candidate_id > shown[second].candidate_id:
        first, second = second, first
        outcome = VoteOutcome.B if outcome is VoteOutcome.A else outcome
    a, b = shown[first], shown[second]
    return VoteValue(a.candidate_id, b.candidate_id, a.generator_id, b.generator_id, outcome, first < second)
