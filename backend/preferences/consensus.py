"""What annotators say of a condition's candidates, turned into posteriors, preference pairs and winner groups.

A pair of candidates that w annotators decided one way and l the other way (ties and both-bad half to each) has the
posterior mean p(win) = (a + w) / (2a + w + l) of a Beta(a, a) prior: the probability that the next annotator prefers
the winner. The prior says how far one vote can be trusted, and is learned from how often two annotators agree on the
same pair: under it they agree with probability A = (a + 1) / (2a + 1), so a = (1 - A) / (2A - 1). A vote counts by its
annotator's weight (`reliability.weights`), so that one who guesses moves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

# Until enough pairs were judged twice, a single vote is trusted as far as agreement in published preference sets of
# images goes (two thirds to four fifths of pairs of annotators agree): one vote then gives p(win) = 0.8.
ASSUMED_AGREEMENT = 0.8
# The measured agreement is pulled towards the assumed one with the weight of this many pairs of annotators.
ASSUMED_WEIGHT = 30
# Bounds keep the prior finite where annotators agree always (as a single careful one does) or no better than chance.
AGREEMENT_BOUNDS = (0.55, 0.95)


@dataclass(frozen=True, slots=True)
class PairVotes:
    """Votes on one pair of candidates of a condition, `a` and `b` being candidate ids; ties exclude both-bad.

    Votes are sums of weights; `squares` are the sums of squared weights of the votes for a and for b, and `number` is
    how many votes count. Both may be left away where every vote weighs one.
    """

    condition: int
    a: int
    b: int
    a_wins: float = 0
    b_wins: float = 0
    ties: float = 0
    both_bad: float = 0
    squares: tuple[float, float] | None = None
    number: int | None = None

    @property
    def total(self) -> int:
        return round(self.a_wins + self.b_wins + self.ties + self.both_bad) if self.number is None else self.number


@dataclass(frozen=True, slots=True)
class CandidateMarks:
    """How often a candidate was marked win and lose, and how often each reason was given against it, by weight;
    `number` is how many marks count, and may be left away where each weighs one."""

    condition: int
    candidate: int
    wins: float = 0
    losses: float = 0
    reasons: dict[str, float] = field(default_factory=dict)
    number: int | None = None

    @property
    def total(self) -> int:
        return round(self.wins + self.losses) if self.number is None else self.number


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair with a preference: `p_win` in [0.5, 1] that `win` is the better, from `votes` votes."""

    condition: int
    win: int
    lose: int
    p_win: float
    votes: int


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate with the posterior that an annotator marks it a win, from `votes` marks."""

    condition: int
    candidate: int
    p_win: float
    votes: int


def agreement_of(pairs: Iterable[PairVotes]) -> tuple[float, int]:
    """The share of pairs of annotators that decided a pair alike, shrunk to the assumed one, and how many there were.

    Only decided votes count, each two by the product of their weights: a tie is no opinion about which is better.
    """
    same = every = 0.0
    for pair in pairs:
        a_squares, b_squares = pair.squares or (pair.a_wins, pair.b_wins)
        every += ((pair.a_wins + pair.b_wins) ** 2 - a_squares - b_squares) / 2
        same += (pair.a_wins**2 - a_squares + pair.b_wins**2 - b_squares) / 2
    return (same + ASSUMED_AGREEMENT * ASSUMED_WEIGHT) / (every + ASSUMED_WEIGHT), round(every)


def prior_strength(agreement: float) -> float:
    """The a of the Beta(a, a) prior under which two annotators agree with this probability."""
    low, high = AGREEMENT_BOUNDS
    agreement = min(max(agreement, low), high)
    return (1 - agreement) / (2 * agreement - 1)


def posterior(wins: float, losses: float, strength: float) -> float:
    """The mean of Beta(strength + wins, strength + losses)."""
    return (strength + wins) / (2 * strength + wins + losses)


def score_pair(votes: PairVotes, strength: float) -> ScoredPair | None:
    """The preference in a pair's votes; null where there is none.

    Nothing is preferred in a pair without a decided vote, in one that is balanced, or in one that at least as many
    annotators called both bad as decided: a pair of two bad images teaches nothing about good ones.
    """
    decided = votes.a_wins + votes.b_wins
    if decided == 0 or votes.both_bad >= decided:
        return None
    undecided = (votes.ties + votes.both_bad) / 2
    p_a = posterior(votes.a_wins + undecided, votes.b_wins + undecided, strength)
    if votes.a_wins == votes.b_wins:
        return None
    if votes.a_wins > votes.b_wins:
        return ScoredPair(votes.condition, votes.a, votes.b, p_a, votes.total)
    return ScoredPair(votes.condition, votes.b, votes.a, 1 - p_a, votes.total)


def score_candidate(marks: CandidateMarks, strength: float) -> ScoredCandidate:
    """The posterior that an annotator marks the candidate a win."""
    p_win = posterior(marks.wins, marks.losses, strength)
    return ScoredCandidate(marks.condition, marks.candidate, p_win, marks.total)


def agreed_reasons(marks: CandidateMarks | None) -> tuple[str, ...]:
    """Reasons that count against a loser: those given at least half as often as the one given most, in that order."""
    if marks is None or not marks.reasons:
        return ()
    most = max(marks.reasons.values())
    kept = [(-count, reason) for reason, count in marks.reasons.items() if 2 * count >= most and count > 0]
    return tuple(reason for _, reason in sorted(kept))


def above(p_win: float, threshold: float) -> bool:
    """Whether a posterior reaches a threshold; rounding in the last digits does not decide it."""
    return p_win >= threshold - 1e-9


def choose_pairs(pairs: Iterable[ScoredPair], *, threshold: float, min_votes: int, most: int) -> list[ScoredPair]:
    """At most `most` high-contrast pairs of one condition: clear ones first, spread over its candidates.

    Each step takes the pair whose candidates were used least so far, then the highest p(win), then the smallest ids,
    so that the choice is the same every time.
    """
    left = sorted(
        (pair for pair in pairs if pair.votes >= min_votes and above(pair.p_win, threshold)),
        key=lambda pair: (-pair.p_win, pair.win, pair.lose),
    )
    used: dict[int, int] = {}
    chosen: list[ScoredPair] = []
    while left and len(chosen) < most:
        best = min(left, key=lambda pair: used.get(pair.win, 0) + used.get(pair.lose, 0))
        left.remove(best)
        chosen.append(best)
        for candidate in (best.win, best.lose):
            used[candidate] = used.get(candidate, 0) + 1
    return chosen
