"""Which of the scored pairs the rules keep: clear ones, spread over candidates, balanced over subjects and reasons."""

from collections import Counter

from backend.preferences import consensus
from backend.preferences.consensus import ScoredPair
from backend.preferences.schemas import PairRules
from backend.preferences.scoring import ConditionPairs


def choose(rules: PairRules, conditions: list[ConditionPairs]) -> list[ConditionPairs]:
    """What the rules keep of every condition, in the same order; conditions may be left without pairs."""
    kept = [apply(rules, each) for each in conditions]
    if rules.max_pairs_per_subject is None and rules.max_pairs_per_reason is None:
        return kept
    return _balance(rules, kept)


def apply(rules: PairRules, each: ConditionPairs) -> ConditionPairs:
    """What the rules keep of one condition by itself."""
    winner_threshold = rules.winner_threshold or rules.threshold
    pairs = consensus.choose_pairs(
        each.pairs, threshold=rules.threshold, min_votes=rules.min_votes, most=rules.max_pairs_per_condition
    )
    winners = [
        winner
        for winner in each.winners
        if winner.votes >= rules.min_votes and consensus.above(winner.p_win, winner_threshold)
    ]
    return ConditionPairs(each.fact, pairs, winners, each.reasons)


def _balance(rules: PairRules, conditions: list[ConditionPairs]) -> list[ConditionPairs]:
    """Pairs taken in turns from all conditions, each one's first choices first, until a subject or a reason is full."""
    subjects: Counter[int] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    kept: dict[int, list[ScoredPair]] = {}
    turns = sorted((turn, place) for place, each in enumerate(conditions) for turn in range(len(each.pairs)))
    for turn, place in turns:
        each = conditions[place]
        pair, subject = each.pairs[turn], each.fact.subject_id
        if rules.max_pairs_per_subject is not None and subjects[subject] >= rules.max_pairs_per_subject:
            continue
        reason = each.main_reason(pair)
        # A pair without a reason takes nobody's place.
        if reason is not None and rules.max_pairs_per_reason is not None:
            if reasons[each.fact.split, reason] >= rules.max_pairs_per_reason:
                continue
            reasons[each.fact.split, reason] += 1
        subjects[subject] += 1
        kept.setdefault(place, []).append(pair)
    return [
        ConditionPairs(each.fact, kept.get(place, []), each.winners, each.reasons)
        for place, each in enumerate(conditions)
    ]
