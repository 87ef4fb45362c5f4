"""All pairs and winners of a project with their posteriors, as columns of numbers: what thresholds are tried on.

It says of every condition what `scoring.score` says of some through objects, of which a million votes make too many.
"""

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from backend.catalogue.models import Project
from backend.preferences import consensus, repository_pairs, repository_scored, scoring
from backend.preferences.bradley_terry import Floats
from backend.preferences.repository_scored import (
    A_WINS,
    B_WINS,
    BOTH_BAD,
    TIED,
    ConditionColumns,
    Integers,
    MarkColumns,
    VoteColumns,
)
from backend.preferences.schemas import PairRules

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """What `rules` (with the agreement and all weights filled in) make of the votes; `repeated` backs the agreement.

    Pairs [P] are sorted by condition, then the clearest first as `consensus.choose_pairs` takes them: `condition` is a
    place in `conditions`, `win_place` and `lose_place` number candidates, `reason` is a place in `reasons` (of the
    loser). Winners [W] are all candidates that were marked, with the posterior of being marked a win.
    """

    rules: PairRules
    repeated: int
    votes: int
    conditions: ConditionColumns
    condition: Integers
    win: Integers
    lose: Integers
    win_place: Integers
    lose_place: Integers
    p_win: Floats
    number: Integers
    reason: Integers
    reasons: list[tuple[str, ...]]
    winner_p: Floats
    winner_number: Integers


@dataclass(frozen=True)
class _Tallies:
    """Votes by pair [P], pairs by condition and candidates: sums of weights by outcome, of squares, and how many."""

    condition: Integers
    a: Integers
    b: Integers
    said: list[Floats]
    squares: list[Floats]
    number: Integers


def read_scored(session: Session, project: Project, rules: PairRules) -> Scored:
    """Everything `rules` need to know of the project's votes; thresholds and caps of the rules play no part."""
    repository_scored.allow_time(session)
    rules = scoring.fill_in(session, project, rules)
    chosen = scoring.votes_of(rules)
    tallies = _tally(rules, repository_scored.votes(session, project.id, chosen))
    agreement, repeated = _agreement(tallies)
    if rules.agreement is None:
        rules = rules.model_copy(update={"agreement": round(agreement, 4)})
    strength = consensus.prior_strength(rules.agreement or consensus.ASSUMED_AGREEMENT)
    out = repository_pairs.gold_pairs(session, project.id) | repository_scored.same_images(session, project.id)
    conditions = repository_scored.conditions(session, project.id)
    marks = repository_scored.marks(session, project.id, chosen)
    candidates, winner_p, winner_number, reason_of, reasons = _winners(rules, marks, strength)
    kept, p_a = _preferred(tallies, strength, out)
    first = (tallies.said[A_WINS] > tallies.said[B_WINS])[kept]
    win, lose = np.where(first, tallies.a[kept], tallies.b[kept]), np.where(first, tallies.b[kept], tallies.a[kept])
    p_win, condition = np.where(first, p_a, 1 - p_a), np.searchsorted(conditions.id, tallies.condition[kept])
    order = np.lexsort((lose, win, -p_win, condition))
    win, lose = win[order], lose[order]
    places = np.unique(np.concatenate([win, lose]), return_inverse=True)[1]
    return Scored(
        rules=rules,
        repeated=repeated,
        votes=int(tallies.number.sum()),
        conditions=conditions,
        condition=condition[order],
        win=win,
        lose=lose,
        win_place=places[: len(win)],
        lose_place=places[len(win) :],
        p_win=p_win[order],
        number=tallies.number[kept][order],
        reason=_look_up(candidates, reason_of, lose),
        reasons=reasons,
        winner_p=winner_p,
        winner_number=winner_number,
    )


def _look_up(keys: Integers, values: Integers, wanted: Integers) -> Integers:
    """The value of each wanted key, 0 for one that is not among the sorted keys."""
    place = np.searchsorted(keys, wanted)
    known = np.append(keys, -1)[place] == wanted
    return np.where(known, np.append(values, 0)[place], 0)


def _weights(rules: PairRules, person: Integers) -> Floats:
    weight = np.ones(len(person))
    for one, value in (rules.weights or {}).items():
        weight[person == int(one)] = value
    return weight


def _tally(rules: PairRules, votes: VoteColumns) -> _Tallies:
    # People in order too, so that weights are summed as they are where each condition is read by itself.
    order = np.lexsort((votes.person, votes.outcome, votes.b, votes.a, votes.condition))
    votes = VoteColumns(*(column[order] for column in votes))
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (votes.a[1:] != votes.a[:-1]) | (votes.b[1:] != votes.b[:-1])
    line = np.cumsum(begins) - 1
    size = int(begins.sum())
    weight = _weights(rules, votes.person)

    def added(value: Floats, outcome: int) -> Floats:
        return np.bincount(line, weights=np.where(votes.outcome == outcome, value, 0.0), minlength=size)

    return _Tallies(
        votes.condition[begins],
        votes.a[begins],
        votes.b[begins],
        [added(weight, outcome) for outcome in (A_WINS, B_WINS, TIED, BOTH_BAD)],
        [added(weight * weight, outcome) for outcome in (A_WINS, B_WINS)],
        np.bincount(line, weights=weight >= scoring.COUNTS, minlength=size).astype(np.int64),
    )


def _agreement(tallies: _Tallies) -> tuple[float, int]:
    """As `consensus.agreement_of`, over all pairs at once."""
    a, b = tallies.said[A_WINS], tallies.said[B_WINS]
    a_squares, b_squares = tallies.squares
    every = float((((a + b) ** 2 - a_squares - b_squares) / 2).sum())
    same = float(((a**2 - a_squares + b**2 - b_squares) / 2).sum())
    assumed, weight = consensus.ASSUMED_AGREEMENT, consensus.ASSUMED_WEIGHT
    return (same + assumed * weight) / (every + weight), round(every)


def _preferred(tallies: _Tallies, strength: float, out: set[tuple[int, int]]) -> tuple[Mask, Floats]:
    """Which pairs [P] prefer one of their two, and of those the posterior that it is a. As `consensus.score_pair`."""
    a, b, tied, bad = tallies.said
    kept = (a + b > 0) & (bad < a + b) & (a != b)
    if out:
        # The pairs left out are few, those voted on many: the few are looked up.
        span = int(tallies.b.max(initial=0)) + 1
        keys = np.array([one * span + two for one, two in out if two < span], dtype=np.int64)
        kept &= ~np.isin(tallies.a * span + tallies.b, keys)
    undecided = (tied + bad) / 2
    wins, losses = (a + undecided)[kept], (b + undecided)[kept]
    return kept, (strength + wins) / (2 * strength + wins + losses)


def _winners(
    rules: PairRules, marks: MarkColumns, strength: float
) -> tuple[Integers, Floats, Integers, Integers, list[tuple[str, ...]]]:
    """Candidates [W] by id, the posterior that they are marked a win, how many marks count, and what is against each:
    a place in the list of reasons that were found."""
    candidates, line = np.unique(marks.candidate, return_inverse=True)
    weight, size = _weights(rules, marks.person), len(candidates)
    wins = np.bincount(line, weights=weight * marks.is_win, minlength=size)
    losses = np.bincount(line, weights=weight * (1 - marks.is_win), minlength=size)
    number = np.bincount(line, weights=weight >= scoring.COUNTS, minlength=size).astype(np.int64)
    p_win = (strength + wins) / (2 * strength + wins + losses)
    kinds: list[list[str]] = [json.loads(text) for text in marks.kinds]
    names = sorted({name for kind in kinds for name in kind})
    against = np.zeros((size, len(names)))
    for place, name in enumerate(names):
        given = np.array([kind.count(name) for kind in kinds], dtype=np.float64)[marks.reasons]
        against[:, place] = np.bincount(line, weights=weight * given, minlength=size)
    reason_of, reasons = _agreed(against, names)
    return candidates, p_win, number, reason_of, reasons


def _agreed(against: Floats, names: list[str]) -> tuple[Integers, list[tuple[str, ...]]]:
    """As `consensus.agreed_reasons`, of sums of weights [W, reasons]: the place [W] in a list that begins with ()."""
    if not names or not len(against):
        return np.zeros(len(against), dtype=np.int64), [()]
    order = np.argsort(-against, axis=1, kind="stable")
    ranked = np.take_along_axis(against, order, axis=1)
    kept = (2 * ranked >= ranked[:, :1]) & (ranked > 0)
    # 0 stands for nothing, so that shorter lists are told from longer ones.
    lists, place = np.unique(np.where(kept, order + 1, 0), axis=0, return_inverse=True)
    found = [tuple(names[one - 1] for one in line if one) for line in lists.tolist()]
    return place.reshape(-1) + 1, [(), *found]
