"""How good the judgments are: agreement, side bias, pace, annotator by annotator."""

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Project
from backend.preferences import repository, repository_judgments, repository_pairs, repository_quality
from backend.preferences.agreement import Meetings, krippendorff_alpha, pairwise_agreement
from backend.preferences.annotators import OUTCOMES, Answers, Assessment, assess
from backend.preferences.intervals import Share, side_bias, wilson
from backend.preferences.remembered import remembered
from backend.preferences.repository_quality import AnnotatorRow, VoteRow
from backend.preferences.schemas import VoteFilter

# Agreement, reliability and pace are read off the latest votes: enough for any of them, and the same cost at a
# million votes as at these.
LATEST = 50_000
DAYS = 30
MOST_DISAGREEMENTS = 6
# A matrix of more annotators cannot be read.
MOST_IN_MATRIX = 12

# (condition, candidate, candidate, wins, wins, votes) of a pair decided both ways
Divided = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class AnnotatorQuality:
    """One annotator's judgments in numbers; counts are of all criteria, the assessment of the chosen votes."""

    person: Person
    counts: AnnotatorRow
    found: Assessment
    paused: str | None

    @property
    def doubts(self) -> list[str]:
        return [doubt.value for doubt in self.found.doubts]


@dataclass(frozen=True)
class Disagreement:
    """A pair of candidates on which annotators were split."""

    condition_id: int
    prompt: str
    images: tuple[str, str]
    candidates: tuple[int, int]
    wins: tuple[int, int]
    undecided: int


@dataclass(frozen=True)
class KappaRow:
    """One annotator against each of the same annotators in order: (κ, pairs of answers), null where they never met."""

    person: Person
    cells: list[tuple[float, int] | None]


@dataclass(frozen=True)
class Day:
    """One day (UTC): judgments, and how often two annotators agreed where the later of them judged on it."""

    day: str
    people: int
    simulated: int
    agreement: Share


@dataclass(frozen=True)
class Quality:
    """A project's judgments as a whole and by annotator; α and agreement are null where nothing was judged twice.

    `considered` is the number of latest votes behind everything but the counts.
    """

    as_of: datetime
    considered: int
    alpha: float | None
    agreement: float | None
    repeated: int
    judgments: int
    simulated: int
    left: Share
    gold: Share
    itself: Share
    days: list[Day]
    annotators: list[AnnotatorQuality]
    kappas: list[KappaRow]
    disagreements: list[Disagreement]

    @property
    def doubted(self) -> int:
        return sum(bool(one.found.doubts) for one in self.annotators)


def read_quality(session: Session, project: Project, chosen: VoteFilter) -> Quality:
    """Figures of the votes in `chosen`; counts of judgments and pace are of all criteria."""
    measured, as_of = remembered(
        session,
        ("quality", project.id, chosen),
        repository.version(session, project.id, chosen.criterion),
        lambda own: _measure(own, project, chosen),
    )
    people = repository_judgments.people(session, [row.person_id for row in measured.counts])
    paused = repository_quality.pauses(session, project.id)
    annotators = [
        AnnotatorQuality(people[row.person_id], row, found, paused.get(row.person_id))
        for row, found in zip(measured.counts, measured.found, strict=True)
    ]
    order = sorted(
        range(len(annotators)),
        key=lambda k: (annotators[k].person.is_simulated, -annotators[k].counts.judgments, annotators[k].person.id),
    )
    annotators = [annotators[k] for k in order]
    return Quality(
        as_of=as_of,
        considered=measured.considered,
        alpha=measured.alpha,
        agreement=measured.agreement,
        repeated=measured.repeated,
        judgments=sum(one.counts.judgments for one in annotators),
        simulated=sum(one.counts.judgments for one in annotators if one.person.is_simulated),
        left=measured.left,
        gold=_together([one.found.gold for one in annotators]),
        itself=_together([one.found.itself for one in annotators]),
        days=measured.days,
        annotators=annotators,
        kappas=_kappas(measured.met, annotators, order),
        disagreements=_disagreements(session, measured.divided),
    )


@dataclass(frozen=True)
class _Measured:
    considered: int
    alpha: float | None
    agreement: float | None
    repeated: int
    left: Share
    days: list[Day]
    counts: list[AnnotatorRow]
    found: list[Assessment]
    met: Meetings
    divided: list[Divided]


def _measure(session: Session, project: Project, chosen: VoteFilter) -> _Measured:
    votes = repository_quality.latest_votes(session, project.id, chosen, LATEST)
    counts = repository_quality.annotators(session, project.id, chosen.who)
    found, met = assess(read_answers(session, project, chosen, votes, [row.person_id for row in counts]))
    table = outcome_table(votes)
    agreement, repeated = pairwise_agreement(table)
    return _Measured(
        considered=len(votes),
        alpha=krippendorff_alpha(table),
        agreement=agreement,
        repeated=repeated,
        left=side_bias((vote.a_shown_first, vote.outcome, 1) for vote in votes),
        days=_days(session, project, chosen, votes),
        counts=counts,
        found=found,
        met=met,
        divided=_divided(votes),
    )


def read_answers(
    session: Session, project: Project, chosen: VoteFilter, votes: list[VoteRow], people: list[int]
) -> Answers:
    """The votes, times and checks of these people, in their order."""
    place = {person: index for index, person in enumerate(people)}
    known = [vote for vote in votes if vote.person_id in place]
    units = {pair: index for index, pair in enumerate(dict.fromkeys((v.candidate_a, v.candidate_b) for v in known))}
    times = repository_quality.latest_times(session, project.id, chosen.who, LATEST)
    times = [row for row in times if row[0] in place]
    right = {kind: np.zeros(len(people), dtype=np.int64) for kind in ("gold", "repeat")}
    total = {kind: np.zeros(len(people), dtype=np.int64) for kind in ("gold", "repeat")}
    for person, purpose, agreed, answered in repository_quality.checks(session, project.id, chosen):
        if person in place:
            right[purpose][place[person]] = agreed
            total[purpose][place[person]] = answered
    return Answers(
        size=len(people),
        who=np.array([place[vote.person_id] for vote in known], dtype=np.int64),
        unit=np.array([units[vote.candidate_a, vote.candidate_b] for vote in known], dtype=np.int64),
        outcome=np.array([OUTCOMES.index(vote.outcome) for vote in known], dtype=np.int64),
        first_is_left=np.array([vote.a_shown_first for vote in known], dtype=np.bool_),
        timed=np.array([place[person] for person, _ in times], dtype=np.int64),
        seconds=np.array([seconds for _, seconds in times], dtype=np.float64),
        gold_right=right["gold"],
        gold_total=total["gold"],
        repeats_alike=right["repeat"],
        repeats_total=total["repeat"],
    )


def outcome_table(votes: list[VoteRow]) -> list[list[int]]:
    """[pairs of candidates, outcomes] counts."""
    units: dict[tuple[int, int], list[int]] = {}
    for vote in votes:
        cell = units.setdefault((vote.candidate_a, vote.candidate_b), [0] * len(OUTCOMES))
        cell[OUTCOMES.index(vote.outcome)] += 1
    return list(units.values())


def _days(session: Session, project: Project, chosen: VoteFilter, votes: list[VoteRow]) -> list[Day]:
    said: dict[tuple[int, int], list[str]] = {}
    alike: dict[str, list[int]] = {}
    for vote in reversed(votes):
        before = said.setdefault((vote.candidate_a, vote.candidate_b), [])
        if before:
            count = alike.setdefault(vote.created_at.date().isoformat(), [0, 0])
            count[0] += before.count(vote.outcome)
            count[1] += len(before)
        before.append(vote.outcome)
    rows = repository_quality.judgments_by_day(session, project.id, chosen.who, DAYS)
    return [Day(day, people, simulated, wilson(*alike.get(day, [0, 0]))) for day, people, simulated in rows]


def _together(shares: list[Share]) -> Share:
    return wilson(sum(round((share.value or 0.0) * share.count) for share in shares), sum(s.count for s in shares))


def _kappas(met: Meetings, annotators: list[AnnotatorQuality], order: list[int]) -> list[KappaRow]:
    """The busiest annotators against each other, as far as a picture can show."""
    kappa, compared = met.kappa(), met.compared
    shown = [k for k in order if compared[k].sum() > compared[k, k]][:MOST_IN_MATRIX]
    people = {k: one.person for k, one in zip(order, annotators, strict=True)}

    def cell(one: int, other: int) -> tuple[float, int] | None:
        value = float(kappa[one, other])
        return None if one == other or math.isnan(value) else (value, int(compared[one, other]))

    return [KappaRow(people[one], [cell(one, other) for other in shown]) for one in shown]


def _divided(votes: list[VoteRow]) -> list[Divided]:
    counts: dict[tuple[int, int, int], Counter[str]] = {}
    for vote in votes:
        counts.setdefault((vote.condition_id, vote.candidate_a, vote.candidate_b), Counter())[vote.outcome] += 1
    rows = [(*key, said["a"], said["b"], said.total()) for key, said in counts.items() if said["a"] and said["b"]]
    return sorted(rows, key=lambda row: (-min(row[3], row[4]), *row[:3]))[:MOST_DISAGREEMENTS]


def _disagreements(session: Session, rows: list[Divided]) -> list[Disagreement]:
    images = repository_pairs.candidate_images(session, {row[0] for row in rows})
    prompts = repository_pairs.prompts(session, {row[0] for row in rows})
    return [
        Disagreement(
            condition_id=condition,
            prompt=prompts[condition],
            images=(images[a], images[b]),
            candidates=(a, b),
            wins=(a_wins, b_wins),
            undecided=total - a_wins - b_wins,
        )
        for condition, a, b, a_wins, b_wins, total in rows
    ]
