"""From judgments to preference pairs: what the rules choose, and what other thresholds would."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from backend.catalogue.models import Project, Split
from backend.kit.paging import PageRequest, encode_cursor
from backend.preferences import consensus, repository_pairs
from backend.preferences.consensus import CandidateMarks, PairVotes, ScoredCandidate, ScoredPair
from backend.preferences.ratings import leaderboard
from backend.preferences.repository_pairs import ConditionFact
from backend.preferences.schemas import PairOut, PairRules, PairsOut, VoteFilter, Who, YieldOut, YieldPoint

__all__ = ["PairSet", "leaderboard", "pair_sources", "pairs_page", "preference_pairs", "threshold_yield"]

# Conditions are read so many at a time: memory stays flat, and a query still brings thousands of votes.
CHUNK = 500
YIELD_THRESHOLDS = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class ConditionPairs:
    """What is known of one condition: every scored pair and candidate, and reasons by losing candidate."""

    fact: ConditionFact
    pairs: list[ScoredPair]
    winners: list[ScoredCandidate]
    reasons: dict[int, tuple[str, ...]]


@dataclass
class PairSet:
    """The pairs and winner groups that `rules` (with nothing left open) choose; `repeated` backs the agreement."""

    rules: PairRules
    repeated: int
    votes: int
    conditions: list[ConditionPairs] = field(default_factory=list)

    def count(self, split: Split | None = None) -> int:
        """Pairs, of one split or of both."""
        return sum(len(each.pairs) for each in self.conditions if split is None or each.fact.split == split)


def _filter(rules: PairRules) -> VoteFilter:
    return VoteFilter(criterion=rules.criterion, who=Who.ALL if rules.include_simulated else Who.PEOPLE)


def _decided(outcomes: Iterable[tuple[int, int, str, int]]) -> Iterator[PairVotes]:
    """One PairVotes a pair, from rows in the order of pairs."""
    current: tuple[int, int] | None = None
    counts: Counter[str] = Counter()
    for a, b, outcome, count in outcomes:
        if (a, b) != current:
            if current:
                yield _votes_of(0, *current, counts)
            current, counts = (a, b), Counter()
        counts[outcome] += count
    if current:
        yield _votes_of(0, *current, counts)


def _votes_of(condition: int, a: int, b: int, counts: Counter[str]) -> PairVotes:
    return PairVotes(condition, a, b, counts["a"], counts["b"], counts["tie"], counts["both_bad"])


def resolve_rules(session: Session, project: Project, rules: PairRules) -> tuple[PairRules, int, int]:
    """The rules with every default filled in, the pairs of annotators behind the agreement, and the votes there are."""
    given = rules.agreement
    rules = rules.model_copy(
        update={
            "include_simulated": project.is_demo if rules.include_simulated is None else rules.include_simulated,
            "winner_threshold": rules.threshold if rules.winner_threshold is None else rules.winner_threshold,
        }
    )
    total = 0

    def counted() -> Iterator[PairVotes]:
        nonlocal total
        for pair in _decided(repository_pairs.all_pair_outcomes(session, project.id, _filter(rules))):
            total += pair.total
            yield pair

    agreement, repeated = consensus.agreement_of(counted())
    if given is None:
        # Four digits: a rule a person can read, and one that a single further vote seldom changes.
        rules = rules.model_copy(update={"agreement": round(agreement, 4)})
    return rules, repeated, total


def _scored_conditions(session: Session, project: Project, rules: PairRules) -> Iterator[ConditionPairs]:
    after = 0
    while facts := repository_pairs.conditions_after(session, project.id, after, CHUNK):
        after = facts[-1].id
        yield from _score_chunk(session, project, rules, facts)


def _score_chunk(
    session: Session, project: Project, rules: PairRules, facts: list[ConditionFact]
) -> Iterator[ConditionPairs]:
    strength = consensus.prior_strength(rules.agreement or consensus.ASSUMED_AGREEMENT)
    bounds = (facts[0].id, facts[-1].id)
    votes: dict[tuple[int, int, int], Counter[str]] = {}
    for condition, a, b, outcome, count in repository_pairs.pair_votes(session, project.id, _filter(rules), *bounds):
        votes.setdefault((condition, a, b), Counter())[outcome] += count
    pairs: dict[int, list[ScoredPair]] = {}
    for (condition, a, b), counts in votes.items():
        scored = consensus.score_pair(_votes_of(condition, a, b, counts), strength)
        if scored:
            pairs.setdefault(condition, []).append(scored)
    marks: dict[int, dict[int, CandidateMarks]] = {}
    for one in _marks(session, project, rules, bounds):
        marks.setdefault(one.condition, {})[one.candidate] = one
    images = repository_pairs.candidate_images(session, marks.keys() | pairs.keys())
    for fact in facts:
        own = marks.get(fact.id, {})
        if not own and fact.id not in pairs:
            continue
        yield ConditionPairs(
            fact,
            # Two seeds can give the same picture: such a pair prefers nothing, whatever was said of it.
            [pair for pair in pairs.get(fact.id, []) if images[pair.win] != images[pair.lose]],
            [consensus.score_candidate(own[candidate], strength) for candidate in sorted(own)],
            {candidate: reasons for candidate in own if (reasons := consensus.agreed_reasons(own[candidate]))},
        )


def _marks(session: Session, project: Project, rules: PairRules, bounds: tuple[int, int]) -> Iterator[CandidateMarks]:
    found: dict[tuple[int, int], tuple[Counter[str], Counter[str]]] = {}
    rows = repository_pairs.candidate_marks(session, project.id, _filter(rules), *bounds)
    for condition, candidate, mark, reasons, count in rows:
        marks, against = found.setdefault((condition, candidate), (Counter(), Counter()))
        marks[mark] += count
        for reason in reasons:
            against[reason] += count
    for (condition, candidate), (marks, against) in found.items():
        yield CandidateMarks(condition, candidate, marks["win"], marks["lose"], dict(against))


def _apply(rules: PairRules, each: ConditionPairs) -> ConditionPairs:
    winner_threshold = rules.winner_threshold or rules.threshold
    return ConditionPairs(
        each.fact,
        consensus.choose_pairs(
            each.pairs, threshold=rules.threshold, min_votes=rules.min_votes, most=rules.max_pairs_per_condition
        ),
        [
            winner
            for winner in each.winners
            if winner.votes >= rules.min_votes and consensus.above(winner.p_win, winner_threshold)
        ],
        each.reasons,
    )


def _balance(conditions: list[ConditionPairs], most: int) -> list[ConditionPairs]:
    """At most `most` pairs of a subject, taken in turns from its conditions, each one's first choices first."""
    left: Counter[int] = Counter()
    kept: dict[int, int] = {}
    turns = sorted((turn, each.fact.id, each.fact.subject_id) for each in conditions for turn in range(len(each.pairs)))
    for _, condition, subject in turns:
        if left[subject] < most:
            left[subject] += 1
            kept[condition] = kept.get(condition, 0) + 1
    return [
        ConditionPairs(each.fact, each.pairs[: kept.get(each.fact.id, 0)], each.winners, each.reasons)
        for each in conditions
    ]


def preference_pairs(session: Session, project: Project, rules: PairRules) -> PairSet:
    """The pairs and winner groups of a project under the rules, by condition id. The same judgments give the same."""
    rules, repeated, votes = resolve_rules(session, project, rules)
    chosen = [_apply(rules, each) for each in _scored_conditions(session, project, rules)]
    if rules.max_pairs_per_subject is not None:
        chosen = _balance(chosen, rules.max_pairs_per_subject)
    return PairSet(rules, repeated, votes, [each for each in chosen if each.pairs or each.winners])


def pair_sources(
    session: Session, project: Project, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, int, int]]:
    """(candidate, candidate, judgment, person) of every vote on the conditions with ids first…last."""
    return repository_pairs.pair_sources(session, project.id, chosen, first, last)


def threshold_yield(session: Session, project: Project, rules: PairRules) -> YieldOut:
    """What the rules would give at their own threshold and at a row of others, before anything is frozen."""
    rules, repeated, votes = resolve_rules(session, project, rules)
    conditions = list(_scored_conditions(session, project, rules))
    reasons: Counter[str] = Counter()
    chosen = [_apply(rules, each) for each in conditions]
    if rules.max_pairs_per_subject is not None:
        chosen = _balance(chosen, rules.max_pairs_per_subject)
    for each in chosen:
        for pair in each.pairs:
            reasons.update(each.reasons.get(pair.lose, ()))
    # A threshold above 0.5 moves the winners' with it unless that was set apart.
    apart = rules.winner_threshold if rules.winner_threshold != rules.threshold else None
    points = [_point(rules, conditions, threshold, apart or threshold) for threshold in YIELD_THRESHOLDS]
    own = _point(rules, conditions, rules.threshold, rules.winner_threshold or rules.threshold)
    return YieldOut(
        rules=rules,
        agreement=rules.agreement or consensus.ASSUMED_AGREEMENT,
        repeated=repeated,
        votes=votes,
        chosen=own,
        reasons=dict(reasons.most_common()),
        points=points,
    )


def _point(rules: PairRules, conditions: list[ConditionPairs], threshold: float, winner_threshold: float) -> YieldPoint:
    splits: Counter[str] = Counter()
    subjects: dict[tuple[Split, int], int] = {}
    with_pairs = winners = 0
    for each in conditions:
        clear = sum(pair.votes >= rules.min_votes and consensus.above(pair.p_win, threshold) for pair in each.pairs)
        winners += sum(
            winner.votes >= rules.min_votes and consensus.above(winner.p_win, winner_threshold)
            for winner in each.winners
        )
        if clear:
            with_pairs += 1
            key = (each.fact.split, each.fact.subject_id)
            subjects[key] = subjects.get(key, 0) + min(clear, rules.max_pairs_per_condition)
    for (split, _), number in subjects.items():
        splits[split] += min(number, rules.max_pairs_per_subject or number)
    return YieldPoint(
        threshold=threshold,
        pairs=splits.total(),
        train_pairs=splits[Split.TRAIN],
        validation_pairs=splits[Split.VALIDATION],
        conditions=with_pairs,
        subjects=len(subjects),
        winners=winners,
    )


def pairs_page(session: Session, project: Project, rules: PairRules, page: PageRequest) -> PairsOut:
    """Pairs condition by condition, in the order of condition ids; `page.limit` counts conditions.

    The cap per subject needs all of a subject's conditions at once and is not applied here.
    """
    rules, _, _ = resolve_rules(session, project, rules)
    facts = repository_pairs.conditions_after(session, project.id, page.after or 0, page.limit)
    items = []
    if facts:
        scored = [_apply(rules, each) for each in _score_chunk(session, project, rules, facts)]
        images = repository_pairs.candidate_images(session, [each.fact.id for each in scored])
        items = [pair_out(each, pair, images) for each in scored for pair in each.pairs]
    more = len(facts) == page.limit
    return PairsOut(items=items, next_cursor=encode_cursor(facts[-1].id) if more else None)


def pair_out(each: ConditionPairs, pair: ScoredPair, images: dict[int, str]) -> PairOut:
    """A chosen pair with what is shown of it."""
    return PairOut(
        condition_id=each.fact.id,
        split=each.fact.split,
        subject_id=each.fact.subject_id,
        prompt=each.fact.prompt,
        win_candidate_id=pair.win,
        lose_candidate_id=pair.lose,
        win_image=images[pair.win],
        lose_image=images[pair.lose],
        p_win=pair.p_win,
        votes=pair.votes,
        reasons=list(each.reasons.get(pair.lose, ())),
    )
