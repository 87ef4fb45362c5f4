"""Simulated annotators: they judge from an exact judge's verdicts, with stated mistakes, through the same services.

They exist so that the loop can be watched without a crowd, and so that statistics can be tried on a known truth. Every
person, judgment and vote of theirs is marked as simulated. Comparisons with a candidate that has no verdict are left
to people.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Criterion, Project
from backend.judging import leases, repository_simulation, submission
from backend.judging.models import REASONS, ComparisonKind, Mark, Outcome
from backend.judging.repository import Servable
from backend.judging.repository_simulation import KnownVerdict
from backend.judging.schemas import AnswerIn, MarkIn
from backend.kit.database import utcnow

# Judgments a transaction: long enough to share the cost of a commit, short enough that others wait little.
BATCH = 50
# Of two rational images the more comfortable one is still chosen now and then; most people call a tie.
CHOICE_AMONG_RATIONAL = 0.3
# Spread of the perceived margin, in the verdict's own unit (the tolerance of the rule that binds).
MARGIN_NOISE = 0.25
LEASE_SECONDS = 60


@dataclass(frozen=True)
class Behaviour:
    """How a simulated annotator errs: each verdict is flipped with probability `error_rate`, and with probability
    `side_bias` the answer is given by side, the left one winning."""

    error_rate: float = 0.1
    side_bias: float = 0.0


def ensure_annotators(session: Session, project: Project, behaviour: Behaviour, count: int) -> list[Person]:
    """The project's simulated annotators of this behaviour, made where they are missing."""
    error, bias = round(behaviour.error_rate * 100), round(behaviour.side_bias * 100)
    people = []
    for number in range(1, count + 1):
        name = f"Simulated {number} ({error} % error" + (f", {bias} % by side)" if bias else ")")
        email = f"simulated-{number}-e{behaviour.error_rate:g}-s{behaviour.side_bias:g}@{project.slug}.invalid"
        people.append(repository_simulation.ensure_simulated_person(session, project.id, email, name))
    return people


def judge_batch(
    session: Session,
    project: Project,
    annotators: Sequence[Person],
    behaviour: Behaviour,
    *,
    count: int = BATCH,
    criterion: Criterion | None = None,
    seed: int = 0,
) -> int:
    """Lets the annotators judge up to `count` comparisons in turn; how many they judged, fewer only at the end.

    Raises nothing of its own: what the claim and submit services refuse is refused here too.
    """
    chance = random.Random(f"{seed} {repository_simulation.count_judgments(session, project.id)}")
    idle: set[int] = set()
    done = 0
    turn = chance.randrange(len(annotators))
    while done < count and len(idle) < len(annotators):
        annotator = annotators[turn % len(annotators)]
        turn += 1
        if annotator.id in idle:
            continue
        if _judge_next(session, project, annotator, behaviour, criterion, chance):
            done += 1
        else:
            idle.add(annotator.id)
    return done


def _judge_next(
    session: Session,
    project: Project,
    annotator: Person,
    behaviour: Behaviour,
    criterion: Criterion | None,
    chance: random.Random,
) -> bool:
    now = utcnow()
    row = leases.claim_one(
        session,
        Servable(project.id, annotator.id, criterion, only_with_verdicts=True),
        expires=now + timedelta(seconds=LEASE_SECONDS),
        now=now,
        chance=chance,
    )
    if row is None:
        return False
    verdicts = repository_simulation.verdicts_shown(session, row.comparison_id, row.assignment.shown_order)
    answer = answer_as(behaviour, ComparisonKind(row.kind), verdicts, chance)
    submission.submit(session, annotator, row.assignment.id, f"simulated-{row.assignment.id}", answer, now=now)
    return True


def answer_as(
    behaviour: Behaviour, kind: ComparisonKind, verdicts: Sequence[KnownVerdict], chance: random.Random
) -> AnswerIn:
    """What an annotator of this behaviour says of candidates with these verdicts, in shown order."""
    if chance.random() < behaviour.side_bias:
        return _by_side(kind, len(verdicts))
    seen = [_perceived(verdict, behaviour.error_rate, chance) for verdict in verdicts]
    if kind is ComparisonKind.WIN_LOSE:
        marks = [
            MarkIn(mark=Mark.WIN) if verdict.rational else MarkIn(mark=Mark.LOSE, reasons=list(verdict.reasons))
            for verdict in seen
        ]
        return AnswerIn(outcome=Outcome.MARKS, marks=marks)
    left, right = seen
    if left.rational != right.rational:
        loser = right if left.rational else left
        choice = "left" if left.rational else "right"
        return AnswerIn(outcome=Outcome.CHOICE, choice=choice, reasons=list(loser.reasons))
    if not left.rational:
        return AnswerIn(outcome=Outcome.BOTH_BAD)
    if chance.random() >= CHOICE_AMONG_RATIONAL:
        return AnswerIn(outcome=Outcome.TIE)
    ahead = left.margin - right.margin + chance.gauss(0.0, MARGIN_NOISE)
    return AnswerIn(outcome=Outcome.CHOICE, choice="left" if ahead > 0 else "right")


def _by_side(kind: ComparisonKind, count: int) -> AnswerIn:
    if kind is not ComparisonKind.WIN_LOSE:
        return AnswerIn(outcome=Outcome.CHOICE, choice="left")
    marks = [MarkIn(mark=Mark.WIN), *[MarkIn() for _ in range(count - 2)], MarkIn(mark=Mark.LOSE)]
    return AnswerIn(outcome=Outcome.MARKS, marks=marks)


def _perceived(verdict: KnownVerdict, error_rate: float, chance: random.Random) -> KnownVerdict:
    # “other” needs words, and a simulated annotator has none.
    reasons = tuple(reason for reason in verdict.reasons if reason in REASONS and reason != "other")
    if chance.random() >= error_rate:
        return KnownVerdict(verdict.rational, reasons, verdict.margin)
    invented = () if not verdict.rational else (chance.choice(REASONS[:3]),)
    return KnownVerdict(not verdict.rational, invented, -verdict.margin)
