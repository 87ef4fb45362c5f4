"""Annotators one by one: reliability, pace, side bias, self-agreement, and whose answers look like no judging."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from backend.preferences.agreement import Meetings, meetings
from backend.preferences.intervals import Share, wilson
from backend.preferences.reliability import Reliability, reliability, weights

OUTCOMES = ("a", "b", "tie", "both_bad")
FIRST, SECOND = 0, 1

# A judgment in less than this share of the project's median time was hardly looked at.
HURRIED = 1 / 3
# Nobody is called anything on fewer answers than this.
LEAST = 20
# Votes are called guesses where guessing explains them a hundred times better than a typical annotator's reliability.
GUESSING = math.log(100)
# A side that wins this often, beyond doubt, was chosen for being a side.
SIDED = 0.65
# An annotator who answers their own repeated items no better than this, beyond doubt, is guessing.
CONSISTENT = 0.65
# The same for items whose answer is known.
GOLD = 0.7


class Doubt(StrEnum):
    """Why an annotator's answers deserve a look."""

    GUESSES = "guesses"
    BY_SIDE = "answers by side"
    ALL_EVEN = "calls all even"
    HURRIES = "hurries"
    CONTRADICTS = "contradicts themselves"
    FAILS_GOLD = "fails gold items"


@dataclass(frozen=True)
class Answers:
    """Votes and times of n annotators, who are known by their place 0…n-1.

    Votes [T]: `who`, `unit` (a pair of candidates), `outcome` (place in OUTCOMES), `first_is_left`. Times [J] in
    seconds: `timed` and `seconds`. Known items and repeated ones [n]: how many were answered as is known, or as the
    first time, of how many.
    """

    size: int
    who: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.int64]
    first_is_left: npt.NDArray[np.bool_]
    timed: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    gold_right: npt.NDArray[np.int64]
    gold_total: npt.NDArray[np.int64]
    repeats_alike: npt.NDArray[np.int64]
    repeats_total: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Assessment:
    """One annotator: `reliability` is the probability of naming the better of two candidates, `weight` what one of
    their votes counts in the consensus, `agreement` with others on the same candidates, `left` how often the left one
    won, `even` how often they call even what others decide, `itself` the agreement with their own earlier answers."""

    reliability: Share
    weight: float
    agreement: Share
    left: Share
    even: Share
    itself: Share
    gold: Share
    seconds: float | None
    hurried: Share
    doubts: tuple[Doubt, ...]


def assess(answers: Answers) -> tuple[list[Assessment], Meetings]:
    """All annotators, in their order, and what every two of them said of the same candidates."""
    met = meetings(answers.who, answers.unit, answers.outcome, answers.size, len(OUTCOMES))
    alike, compared = met.alike, met.compared
    decided = answers.outcome <= SECOND
    who, unit = answers.who[decided], answers.unit[decided]
    says_first = answers.outcome[decided] == FIRST
    trust = reliability(who, unit, says_first, answers.size)
    weight = weights(trust.value, trust.votes)
    left = says_first == answers.first_is_left[decided]
    even_right, even_total = _even(answers)
    middle = float(np.median(answers.seconds)) if len(answers.seconds) else 0.0
    found = []
    for one in range(answers.size):
        own = answers.seconds[answers.timed == one]
        parts = {
            "reliability": _reliability(trust, one),
            "agreement": wilson(alike[one].sum() - alike[one, one], int(compared[one].sum() - compared[one, one])),
            "left": wilson(float(left[who == one].sum()), int((who == one).sum())),
            "even": wilson(float(even_right[one]), int(even_total[one])),
            "itself": wilson(float(answers.repeats_alike[one]), int(answers.repeats_total[one])),
            "gold": wilson(float(answers.gold_right[one]), int(answers.gold_total[one])),
            "hurried": wilson(float((own < HURRIED * middle).sum()), len(own)),
        }
        found.append(
            Assessment(
                **parts,
                weight=float(weight[one]),
                seconds=float(np.median(own)) if len(own) else None,
                doubts=_doubts(parts, float(trust.guessing[one])),
            )
        )
    return found, met


def _reliability(trust: Reliability, one: int) -> Share:
    votes = int(trust.votes[one])
    return (
        Share(float(trust.value[one]), float(trust.low[one]), float(trust.high[one]), votes) if votes else wilson(0, 0)
    )


def _even(answers: Answers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """[n] answers that call even what most others decided, and [n] answers on such units."""
    number = int(answers.unit.max(initial=-1)) + 1
    is_even = answers.outcome > SECOND
    every = np.bincount(answers.unit, minlength=number)
    even = np.bincount(answers.unit, weights=is_even, minlength=number)
    others, others_even = every[answers.unit] - 1, even[answers.unit] - is_even
    clear = (others > 0) & (2 * others_even < others)
    total = np.bincount(answers.who[clear], minlength=answers.size)
    return np.bincount(answers.who[clear & is_even], minlength=answers.size), total


def _doubts(parts: dict[str, Share], guessing: float) -> tuple[Doubt, ...]:
    def surely(name: str, *, below: float | None = None, above: float | None = None) -> bool:
        share = parts[name]
        if share.count < LEAST or share.low is None or share.high is None:
            return False
        return (below is not None and share.high < below) or (above is not None and share.low > above)

    tests = (
        (Doubt.GUESSES, parts["reliability"].count >= LEAST and guessing > GUESSING),
        (Doubt.BY_SIDE, surely("left", below=1 - SIDED, above=SIDED)),
        (Doubt.ALL_EVEN, surely("even", above=0.5)),
        (Doubt.HURRIES, surely("hurried", above=0.5)),
        (Doubt.CONTRADICTS, surely("itself", below=CONSISTENT)),
        (Doubt.FAILS_GOLD, surely("gold", below=GOLD)),
    )
    return tuple(doubt for doubt, holds in tests if holds)
