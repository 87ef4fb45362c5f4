"""From judgments to preference pairs: what the rules choose, and what other thresholds would."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from sqlalchemy.orm import Session

from backend.catalogue.models import Project, Split
from backend.kit.errors import NotFound
from backend.kit.paging import PageRequest, encode_cursor
from backend.preferences import choice, consensus, repository, repository_pairs, scoring
from backend.preferences.consensus import PairVotes, ScoredPair
from backend.preferences.ratings import leaderboard
from backend.preferences.remembered import remembered
from backend.preferences.schemas import (
    CandidatePairOut,
    ConditionPairsOut,
    PairOut,
    PairRules,
    PairsOut,
    VoteFilter,
    YieldOut,
    YieldPoint,
)
from backend.preferences.scoring import CHUNK, ConditionPairs

__all__ = ["CHUNK", "PairSet", "leaderboard", "pair_sources", "pairs_page", "preference_pairs", "threshold_yield"]

YIELD_THRESHOLDS = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
# Pairs shown on either side of the threshold.
AT_THE_EDGE = 3


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


def resolve_rules(session: Session, project: Project, rules: PairRules) -> tuple[PairRules, int, int]:
    """The rules with every default filled in, the pairs of annotators behind the agreement, and the votes there are."""
    given = rules.agreement
    rules = rules.model_copy(
        update={
            "include_simulated": project.is_demo if rules.include_simulated is None else rules.include_simulated,
            "winner_threshold": rules.threshold if rules.winner_threshold is None else rules.winner_threshold,
        }
    )
    if not rules.weigh_annotators:
        rules = rules.model_copy(update={"weights": {}})
    elif rules.weights is None:
        weights = scoring.measured_weights(session, project, scoring.votes_of(rules))
        rules = rules.model_copy(update={"weights": weights})
    total = 0

    def counted() -> Iterator[PairVotes]:
        nonlocal total
        for pair in scoring.all_votes(session, project, rules):
            total += pair.total
            yield pair

    agreement, repeated = consensus.agreement_of(counted())
    if given is None:
        # Four digits: a rule a person can read, and one that a single further vote seldom changes.
        rules = rules.model_copy(update={"agreement": round(agreement, 4)})
    return rules, repeated, total


def preference_pairs(session: Session, project: Project, rules: PairRules) -> PairSet:
    """The pairs and winner groups of a project under the rules, by condition id. The same judgments give the same."""
    rules, repeated, votes = resolve_rules(session, project, rules)
    # What a condition does not keep is let go at once, so that memory holds the chosen pairs alone.
    chosen = choice.choose(
        rules, [choice.apply(rules, each) for each in scoring.scored_conditions(session, project, rules)]
    )
    return PairSet(rules, repeated, votes, [each for each in chosen if each.pairs or each.winners])


def pair_sources(
    session: Session, project: Project, chosen: VoteFilter, first: int, last: int
) -> list[tuple[int, int, int, int]]:
    """(candidate, candidate, judgment, person) of every vote on the conditions with ids first…last."""
    return repository_pairs.pair_sources(session, project.id, chosen, first, last)


def threshold_yield(session: Session, project: Project, rules: PairRules) -> YieldOut:
    """What the rules would give at their own threshold and at a row of others, before anything is frozen."""
    version = repository.version(session, project.id, rules.criterion)
    key = ("yield", project.id, rules.model_dump_json())
    return remembered(session, key, version, lambda own: _threshold_yield(own, project, rules))[0]


def _threshold_yield(session: Session, project: Project, rules: PairRules) -> YieldOut:
    rules, repeated, votes = resolve_rules(session, project, rules)
    conditions = list(scoring.scored_conditions(session, project, rules))
    chosen = choice.choose(rules, conditions)
    reasons: Counter[str] = Counter()
    for each in chosen:
        for pair in each.pairs:
            reasons.update(each.reasons.get(pair.lose, ()))
    # A threshold above 0.5 moves the winners' with it unless that was set apart.
    apart = rules.winner_threshold if rules.winner_threshold != rules.threshold else None
    others = [
        rules.model_copy(update={"threshold": threshold, "winner_threshold": apart or threshold})
        for threshold in YIELD_THRESHOLDS
    ]
    just_in = _closest(rules, chosen, chosen=True)
    just_out = _closest(rules, conditions, chosen=False)
    images = repository_pairs.candidate_images(session, {each.fact.id for each, _ in (*just_in, *just_out)})
    return YieldOut(
        rules=rules,
        agreement=rules.agreement or consensus.ASSUMED_AGREEMENT,
        repeated=repeated,
        votes=votes,
        chosen=_point(rules, conditions),
        reasons=dict(reasons.most_common()),
        just_in=[pair_out(each, pair, images) for each, pair in just_in],
        just_out=[pair_out(each, pair, images) for each, pair in just_out],
        points=[_point(other, conditions) for other in others],
    )


def _closest(
    rules: PairRules, conditions: list[ConditionPairs], *, chosen: bool
) -> list[tuple[ConditionPairs, ScoredPair]]:
    """The pairs closest to the threshold on one side of it, of different conditions."""
    found = []
    for each in conditions:
        pairs = [pair for pair in each.pairs if consensus.above(pair.p_win, rules.threshold) == chosen]
        if pairs:
            found.append((each, min(pairs, key=lambda pair: (abs(pair.p_win - rules.threshold), pair.win, pair.lose))))
    found.sort(key=lambda row: (abs(row[1].p_win - rules.threshold), row[0].fact.id))
    return found[:AT_THE_EDGE]


def _point(rules: PairRules, conditions: list[ConditionPairs]) -> YieldPoint:
    splits: Counter[str] = Counter()
    subjects: set[int] = set()
    with_pairs = winners = 0
    for each, pairs in zip(conditions, _numbers(rules, conditions), strict=True):
        winners += sum(
            winner.votes >= rules.min_votes and consensus.above(winner.p_win, rules.winner_threshold or rules.threshold)
            for winner in each.winners
        )
        if pairs:
            with_pairs += 1
            splits[each.fact.split] += pairs
            subjects.add(each.fact.subject_id)
    return YieldPoint(
        threshold=rules.threshold,
        pairs=splits.total(),
        train_pairs=splits[Split.TRAIN],
        validation_pairs=splits[Split.VALIDATION],
        conditions=with_pairs,
        subjects=len(subjects),
        winners=winners,
    )


def _numbers(rules: PairRules, conditions: list[ConditionPairs]) -> list[int]:
    """How many pairs of each condition the rules keep; where nothing is balanced, which ones need not be chosen."""
    if rules.max_pairs_per_subject is not None or rules.max_pairs_per_reason is not None:
        return [len(each.pairs) for each in choice.choose(rules, conditions)]
    return [
        min(
            rules.max_pairs_per_condition,
            sum(pair.votes >= rules.min_votes and consensus.above(pair.p_win, rules.threshold) for pair in each.pairs),
        )
        for each in conditions
    ]


def pairs_page(session: Session, project: Project, rules: PairRules, page: PageRequest) -> PairsOut:
    """Pairs condition by condition, in the order of condition ids; `page.limit` counts conditions.

    The caps per subject and per reason need all conditions at once and are not applied here.
    """
    rules, _, _ = resolve_rules(session, project, rules)
    facts = repository_pairs.conditions_after(session, project.id, page.after or 0, page.limit)
    items = []
    if facts:
        scored = [choice.apply(rules, each) for each in scoring.score(session, project, rules, facts)]
        images = repository_pairs.candidate_images(session, [each.fact.id for each in scored])
        items = [pair_out(each, pair, images) for each in scored for pair in each.pairs]
    more = len(facts) == page.limit
    return PairsOut(items=items, next_cursor=encode_cursor(facts[-1].id) if more else None)


def condition_pairs(session: Session, project: Project, rules: PairRules, condition_id: int) -> ConditionPairsOut:
    """Every pair of candidates of one condition with its posterior; NotFound where there is no such condition."""
    fact = repository_pairs.condition(session, project.id, condition_id)
    if fact is None:
        raise NotFound(f"There is no condition {condition_id} in this project. The list is under Conditions.")
    rules, _, _ = resolve_rules(session, project, rules)
    images = repository_pairs.candidate_images(session, [fact.id])
    votes = {(one.a, one.b): one for one in scoring.pair_votes(session, project, rules, [fact]).get(fact.id, [])}
    chosen = [choice.apply(rules, each) for each in scoring.score(session, project, rules, [fact])]
    kept = {(pair.win, pair.lose) for each in chosen for pair in each.pairs}
    gold = repository_pairs.gold_pairs(session, project.id)
    return ConditionPairsOut(
        condition_id=fact.id,
        prompt=fact.prompt,
        agreement=rules.agreement or consensus.ASSUMED_AGREEMENT,
        threshold=rules.threshold,
        candidates=dict(sorted(images.items())),
        pairs=[
            _candidate_pair(votes.get((a, b)) or PairVotes(fact.id, a, b), rules, images, kept, gold)
            for a, b in combinations(sorted(images), 2)
        ],
    )


def _candidate_pair(
    votes: PairVotes,
    rules: PairRules,
    images: dict[int, str],
    kept: set[tuple[int, int]],
    gold: set[tuple[int, int]],
) -> CandidatePairOut:
    strength = consensus.prior_strength(rules.agreement or consensus.ASSUMED_AGREEMENT)
    undecided = (votes.ties + votes.both_bad) / 2
    reason_out = None
    if not {(votes.a, votes.b), (votes.b, votes.a)} & kept:
        is_gold = (votes.a, votes.b) in gold
        scored = consensus.score_pair(votes, strength)
        reason_out = "it is a gold item" if is_gold else _why_out(votes, rules, scored, images)
    return CandidatePairOut(
        candidate_a=votes.a,
        candidate_b=votes.b,
        p_a=consensus.posterior(votes.a_wins + undecided, votes.b_wins + undecided, strength),
        a_wins=round(votes.a_wins, 2),
        b_wins=round(votes.b_wins, 2),
        ties=round(votes.ties, 2),
        both_bad=round(votes.both_bad, 2),
        votes=votes.total,
        reason_out=reason_out,
    )


def _why_out(votes: PairVotes, rules: PairRules, scored: ScoredPair | None, images: dict[int, str]) -> str:
    decided = votes.a_wins + votes.b_wins
    if votes.both_bad >= max(decided, 1e-9):
        return "at least as many called both bad as decided"
    if scored is None:
        return "the votes are balanced" if decided else "nobody decided between them"
    if images[votes.a] == images[votes.b]:
        return "the two images are the same"
    if scored.votes < rules.min_votes:
        return f"{scored.votes} of the {rules.min_votes} votes needed weigh half a vote or more"
    if not consensus.above(scored.p_win, rules.threshold):
        return f"p(win) {scored.p_win:.3f} is below {rules.threshold:.2f}"
    return f"clearer pairs filled the condition's {rules.max_pairs_per_condition}"


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
