"""From votes in the database to scored pairs and candidates, each vote by the weight of who gave it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.catalogue.models import Project
from backend.preferences import consensus, repository_pairs, repository_quality
from backend.preferences.annotators import assess
from backend.preferences.consensus import CandidateMarks, PairVotes, ScoredCandidate, ScoredPair
from backend.preferences.quality import LATEST, read_answers
from backend.preferences.repository_pairs import ConditionFact
from backend.preferences.schemas import PairRules, VoteFilter, Who

# Conditions are read so many at a time: memory stays flat, and a query still brings thousands of votes.
CHUNK = 500
# Votes that weigh less do not count among those that a pair needs.
COUNTS = 0.5


@dataclass(frozen=True)
class ConditionPairs:
    """What is known of one condition: scored pairs and candidates, and reasons by losing candidate."""

    fact: ConditionFact
    pairs: list[ScoredPair]
    winners: list[ScoredCandidate]
    reasons: dict[int, tuple[str, ...]]

    def main_reason(self, pair: ScoredPair) -> str | None:
        """What most gave against the pair's loser."""
        return next(iter(self.reasons.get(pair.lose, ())), None)


class _Tally:
    """Votes of one pair while they are being counted: sums of weights by outcome, of their squares, and how many."""

    __slots__ = ("number", "said", "squares")

    def __init__(self) -> None:
        self.said = {"a": 0.0, "b": 0.0, "tie": 0.0, "both_bad": 0.0}
        self.squares = {"a": 0.0, "b": 0.0}
        self.number = 0

    def add(self, outcome: str, weight: float, count: int) -> None:
        self.said[outcome] += weight * count
        if outcome in self.squares:
            self.squares[outcome] += weight * weight * count
        if weight >= COUNTS:
            self.number += count

    def votes(self, condition: int, a: int, b: int) -> PairVotes:
        return PairVotes(condition, a, b, *self.said.values(), tuple(self.squares.values()), self.number)


def votes_of(rules: PairRules) -> VoteFilter:
    """The votes that the rules count."""
    return VoteFilter(criterion=rules.criterion, who=Who.ALL if rules.include_simulated else Who.PEOPLE)


def measured_weights(session: Session, project: Project, chosen: VoteFilter) -> dict[str, float]:
    """What votes of each person (by id) weigh, where less than one, read off the latest votes."""
    votes = repository_quality.latest_votes(session, project.id, chosen, LATEST)
    people = sorted({vote.person_id for vote in votes})
    found, _ = assess(read_answers(session, project, chosen, votes, people))
    # Two digits: a rule a person can read, and one that a single further vote seldom changes.
    weights = {str(person): round(one.weight, 2) for person, one in zip(people, found, strict=True)}
    return {person: weight for person, weight in weights.items() if weight < 1}


def fill_in(session: Session, project: Project, rules: PairRules) -> PairRules:
    """The rules with every default filled in but the agreement."""
    rules = rules.model_copy(
        update={
            "include_simulated": project.is_demo if rules.include_simulated is None else rules.include_simulated,
            "winner_threshold": rules.threshold if rules.winner_threshold is None else rules.winner_threshold,
        }
    )
    if not rules.weigh_annotators:
        return rules.model_copy(update={"weights": {}})
    if rules.weights is None:
        return rules.model_copy(update={"weights": measured_weights(session, project, votes_of(rules))})
    return rules


def _weights(rules: PairRules) -> Mapping[int, float]:
    return {int(person): weight for person, weight in (rules.weights or {}).items()}


def all_votes(session: Session, project: Project, rules: PairRules) -> Iterator[PairVotes]:
    """Every pair that was voted on, with nothing known of its condition."""
    weights = _weights(rules)
    current: tuple[int, int] | None = None
    tally = _Tally()
    for a, b, outcome, person, count in repository_pairs.all_pair_outcomes(session, project.id, votes_of(rules)):
        if (a, b) != current:
            if current:
                yield tally.votes(0, *current)
            current, tally = (a, b), _Tally()
        tally.add(outcome, weights.get(person, 1.0), count)
    if current:
        yield tally.votes(0, *current)


def pair_votes(
    session: Session, project: Project, rules: PairRules, facts: list[ConditionFact]
) -> dict[int, list[PairVotes]]:
    """Condition id to the votes on its pairs."""
    weights = _weights(rules)
    tallies: dict[tuple[int, int, int], _Tally] = {}
    bounds = (facts[0].id, facts[-1].id)
    for condition, a, b, outcome, person, count in repository_pairs.pair_votes(
        session, project.id, votes_of(rules), *bounds
    ):
        tallies.setdefault((condition, a, b), _Tally()).add(outcome, weights.get(person, 1.0), count)
    found: dict[int, list[PairVotes]] = {}
    for (condition, a, b), tally in tallies.items():
        found.setdefault(condition, []).append(tally.votes(condition, a, b))
    return found


def scored_conditions(session: Session, project: Project, rules: PairRules) -> Iterator[ConditionPairs]:
    """Every condition on which anything was said, by id; `rules` must have nothing left open."""
    after = 0
    while facts := repository_pairs.conditions_after(session, project.id, after, CHUNK):
        after = facts[-1].id
        yield from score(session, project, rules, facts)


def score(session: Session, project: Project, rules: PairRules, facts: list[ConditionFact]) -> Iterator[ConditionPairs]:
    """The same for these conditions alone, which must follow each other."""
    strength = consensus.prior_strength(rules.agreement or consensus.ASSUMED_AGREEMENT)
    gold = repository_pairs.gold_pairs(session, project.id)
    pairs = {
        condition: [
            scored for one in votes if (one.a, one.b) not in gold and (scored := consensus.score_pair(one, strength))
        ]
        for condition, votes in pair_votes(session, project, rules, facts).items()
    }
    marks: dict[int, dict[int, CandidateMarks]] = {}
    for one in _marks(session, project, rules, facts):
        marks.setdefault(one.condition, {})[one.candidate] = one
    images = repository_pairs.candidate_images(session, marks.keys() | pairs.keys())
    for fact in facts:
        own = marks.get(fact.id, {})
        if not own and not pairs.get(fact.id):
            continue
        yield ConditionPairs(
            fact,
            # Two seeds can give the same picture: such a pair prefers nothing, whatever was said of it.
            [pair for pair in pairs.get(fact.id, []) if images[pair.win] != images[pair.lose]],
            [consensus.score_candidate(own[candidate], strength) for candidate in sorted(own)],
            {candidate: reasons for candidate in own if (reasons := consensus.agreed_reasons(own[candidate]))},
        )


def _marks(
    session: Session, project: Project, rules: PairRules, facts: list[ConditionFact]
) -> Iterable[CandidateMarks]:
    weights = _weights(rules)
    found: dict[tuple[int, int], tuple[Counter[str], Counter[str]]] = {}
    numbers: Counter[tuple[int, int]] = Counter()
    bounds = (facts[0].id, facts[-1].id)
    rows = repository_pairs.candidate_marks(session, project.id, votes_of(rules), *bounds)
    for condition, candidate, mark, reasons, person, count in rows:
        weight = weights.get(person, 1.0)
        marks, against = found.setdefault((condition, candidate), (Counter(), Counter()))
        marks[mark] += weight * count
        numbers[condition, candidate] += count if weight >= COUNTS else 0
        for reason in reasons:
            against[reason] += weight * count
    for key, (marks, against) in found.items():
        yield CandidateMarks(*key, marks["win"], marks["lose"], dict(against), numbers[key])
