"""From judgments to preference pairs: what the rules choose, and what other thresholds would."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from sqlalchemy.orm import Session

from backend.catalogue.models import Project, Split
from backend.kit.errors import NotFound
from backend.kit.paging import PageRequest, encode_cursor
from backend.preferences import choice, consensus, repository_pairs, scoring
from backend.preferences.consensus import PairVotes, ScoredPair
from backend.preferences.ratings import leaderboard
from backend.preferences.schemas import (
    CandidatePairOut,
    ConditionPairsOut,
    PairOut,
    PairRules,
    PairsOut,
    VoteFilter,
)
from backend.preferences.scoring import CHUNK, ConditionPairs
from backend.preferences.yields import filled_in, scored_votes, threshold_yield

__all__ = ["CHUNK", "PairSet", "leaderboard", "pair_sources", "pairs_page", "preference_pairs", "threshold_yield"]


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
    rules = scoring.fill_in(session, project, rules)
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


def pairs_page(session: Session, project: Project, rules: PairRules, page: PageRequest) -> PairsOut:
    """Pairs condition by condition, in the order of condition ids; `page.limit` counts conditions.

    The caps per subject and per reason need all conditions at once and are not applied here.
    """
    rules = filled_in(rules, scored_votes(session, project, rules)[0])
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
    rules = filled_in(rules, scored_votes(session, project, rules)[0])
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
