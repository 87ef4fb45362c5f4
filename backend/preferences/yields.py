"""What thresholds and caps would keep of the scored pairs, before anything is frozen.

The same as `choice.choose`, of all conditions at once.
"""

from collections.abc import Hashable
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from backend.catalogue.models import Project, Split
from backend.kit.database import utcnow
from backend.preferences import consensus, repository, repository_pairs
from backend.preferences.remembered import Version, remembered
from backend.preferences.repository_scored import Integers
from backend.preferences.schemas import PairOut, PairRules, YieldOut, YieldPoint
from backend.preferences.scored import Floats, Mask, Scored, read_scored

YIELD_THRESHOLDS = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
# Pairs shown on either side of the threshold.
AT_THE_EDGE = 3
# From this share on a warning is due: annotators who err in a tenth cost SpatialWorld's study 16 points.
CONTESTED_ABOVE = 0.1
# What `consensus.above` allows for rounding.
_ROUNDING = 1e-9


def scored_votes(session: Session, project: Project, rules: PairRules) -> tuple[Scored, datetime]:
    """The project's votes as `rules` count them, and of what moment that is."""
    simulated = project.is_demo if rules.include_simulated is None else rules.include_simulated
    weights: Hashable = None if rules.weights is None else tuple(sorted(rules.weights.items()))
    key = ("scored", project.id, rules.criterion, simulated, rules.weigh_annotators, weights, rules.agreement)
    version = repository.version(session, project.id, rules.criterion)
    return remembered(session, key, version, lambda own: read_scored(own, project, _alone(rules)))


def _alone(rules: PairRules) -> PairRules:
    """What of the rules the scores depend on: thresholds and caps are tried on the same ones."""
    counted = ("criterion", "include_simulated", "weigh_annotators", "agreement")
    return PairRules(**{name: getattr(rules, name) for name in counted}, weights=rules.weights)


def threshold_yield(session: Session, project: Project, rules: PairRules) -> YieldOut:
    """What the rules would give at their own threshold and at a row of others, before anything is frozen."""
    scored, as_of = scored_votes(session, project, rules)
    version = Version((as_of, scored.votes), False)
    key = ("yield", project.id, rules.model_dump_json())
    return remembered(session, key, version, lambda own: _threshold_yield(own, scored, as_of, rules))[0]


def yield_to_freeze(session: Session, project: Project, rules: PairRules) -> YieldOut:
    """The same of this very moment, unless there is so much that what is kept has to do."""
    if repository.version(session, project.id, rules.criterion).many:
        return threshold_yield(session, project, rules)
    return _threshold_yield(session, read_scored(session, project, _alone(rules)), utcnow(), rules)


def filled_in(rules: PairRules, scored: Scored) -> PairRules:
    """The rules with what was measured of the votes, and nothing left open."""
    known = {name: getattr(scored.rules, name) for name in ("include_simulated", "weights", "agreement")}
    apart = rules.threshold if rules.winner_threshold is None else rules.winner_threshold
    return rules.model_copy(update={**known, "winner_threshold": apart})


def _threshold_yield(session: Session, scored: Scored, as_of: datetime, rules: PairRules) -> YieldOut:
    rules = filled_in(rules, scored)
    chosen = choose(rules, scored)
    # A threshold above 0.5 moves the winners' with it unless that was set apart.
    apart = rules.winner_threshold if rules.winner_threshold != rules.threshold else None
    others = [
        rules.model_copy(update={"threshold": threshold, "winner_threshold": apart or threshold})
        for threshold in YIELD_THRESHOLDS
    ]
    just_in = _closest(rules, scored, chosen & (scored.p_win >= rules.threshold - _ROUNDING))
    just_out = _closest(rules, scored, scored.p_win < rules.threshold - _ROUNDING)
    shown = _shown(session, scored, [*just_in, *just_out])
    pairs, winners = _contested(scored.p_win[chosen]), _contested(scored.winner_p[_winners(rules, scored)])
    return YieldOut(
        rules=rules,
        agreement=rules.agreement or consensus.ASSUMED_AGREEMENT,
        repeated=scored.repeated,
        votes=scored.votes,
        as_of=as_of,
        chosen=_point(rules, scored),
        contested_pairs=pairs,
        contested_winners=winners,
        contested=bool(chosen.any()) and max(pairs, winners) > CONTESTED_ABOVE,
        reasons=_reasons(scored, chosen),
        just_in=[shown[place] for place in just_in],
        just_out=[shown[place] for place in just_out],
        points=[_point(other, scored) for other in others],
    )


def choose(rules: PairRules, scored: Scored) -> Mask:
    """[P] which pairs the rules (with nothing left open) keep."""
    clear = _clear(rules, scored)
    turns = np.full(len(clear), -1)
    turns[clear] = _turns(scored, np.flatnonzero(clear), rules.max_pairs_per_condition)
    if rules.max_pairs_per_subject is None and rules.max_pairs_per_reason is None:
        return turns >= 0
    # In turns from all conditions, each one's first choices first.
    taken = np.flatnonzero(turns >= 0)
    return _balance(rules, scored, taken[np.lexsort((scored.condition[taken], turns[taken]))])


def _clear(rules: PairRules, scored: Scored) -> Mask:
    return (scored.p_win >= rules.threshold - _ROUNDING) & (scored.number >= rules.min_votes)


def _turns(scored: Scored, pairs: Integers, most: int) -> Integers:
    """In which turn each of the pairs (places, in the order of `scored`) is taken, -1 for never: at each turn every
    condition gives the pair whose candidates were used least so far, the clearest of them."""
    turns = np.full(len(pairs), -1)
    used = np.zeros(int(max(scored.win_place.max(initial=-1), scored.lose_place.max(initial=-1))) + 1, dtype=np.int64)
    left = np.arange(len(pairs))
    for turn in range(most):
        if not len(left):
            break
        condition = scored.condition[pairs[left]]
        begins = np.flatnonzero(np.diff(condition, prepend=-1))
        win, lose = scored.win_place[pairs[left]], scored.lose_place[pairs[left]]
        # The least use comes first, then the place in the order of the clearest.
        rank = (used[win] + used[lose]) * len(left) + np.arange(len(left))
        best = np.minimum.reduceat(rank, begins) % len(left)
        turns[left[best]] = turn
        used[win[best]] += 1
        used[lose[best]] += 1
        left = np.delete(left, best)
    return turns


def _balance(rules: PairRules, scored: Scored, order: Integers) -> Mask:
    """[P] what of the pairs (places, in the order in which they are taken) no subject and no reason is too full for."""
    kept = np.zeros(len(scored.condition), dtype=np.bool_)
    subject = scored.conditions.subject[scored.condition[order]]
    # The main reason on its split; a pair without a reason takes nobody's place.
    names = {name: number for number, name in enumerate(sorted({each[0] for each in scored.reasons if each}), start=1)}
    main = np.array([names[each[0]] if each else 0 for each in scored.reasons])[scored.reason[order]]
    cell = np.where(main > 0, 2 * main + scored.conditions.is_held_out[scored.condition[order]], 0)
    most_of_subject = rules.max_pairs_per_subject or len(order)
    most_of_reason = rules.max_pairs_per_reason or len(order)
    subjects: dict[int, int] = {}
    cells: dict[int, int] = {}
    for place, one, reason in zip(order.tolist(), subject.tolist(), cell.tolist(), strict=True):
        if subjects.get(one, 0) >= most_of_subject or (reason and cells.get(reason, 0) >= most_of_reason):
            continue
        subjects[one] = subjects.get(one, 0) + 1
        cells[reason] = cells.get(reason, 0) + 1
        kept[place] = True
    return kept


def _point(rules: PairRules, scored: Scored) -> YieldPoint:
    """What the rules would give; where nothing is balanced, how many of a condition says enough."""
    balanced = rules.max_pairs_per_subject is not None or rules.max_pairs_per_reason is not None
    kept = choose(rules, scored) if balanced else _clear(rules, scored)
    number = np.bincount(scored.condition[kept], minlength=len(scored.conditions.id))
    number = np.minimum(number, rules.max_pairs_per_condition)
    held_out = int(number[scored.conditions.is_held_out == 1].sum())
    return YieldPoint(
        threshold=rules.threshold,
        pairs=int(number.sum()),
        train_pairs=int(number.sum()) - held_out,
        validation_pairs=held_out,
        conditions=int((number > 0).sum()),
        subjects=len(np.unique(scored.conditions.subject[number > 0])),
        winners=int(_winners(rules, scored).sum()),
    )


def _winners(rules: PairRules, scored: Scored) -> Mask:
    """[W] which candidates the rules take for winners."""
    least = (rules.winner_threshold or rules.threshold) - _ROUNDING
    return (scored.winner_number >= rules.min_votes) & (scored.winner_p >= least)


def _contested(posterior: Floats) -> float:
    """Share that the next judgment is expected to contradict; 0 of nothing."""
    return float(1 - posterior.mean()) if len(posterior) else 0.0


def _reasons(scored: Scored, chosen: Mask) -> dict[str, int]:
    """How many of the chosen pairs have each reason against their loser, the most frequent first."""
    found: dict[str, int] = {}
    for reasons, count in zip(scored.reasons, np.bincount(scored.reason[chosen]).tolist(), strict=False):
        for reason in reasons:
            found[reason] = found.get(reason, 0) + count
    return {name: found[name] for name in sorted(found, key=lambda name: (-found[name], name)) if found[name]}


def _closest(rules: PairRules, scored: Scored, side: Mask) -> list[int]:
    """Places of the pairs closest to the threshold on one side of it, of different conditions."""
    pairs = np.flatnonzero(side)
    far = np.abs(scored.p_win[pairs] - rules.threshold)
    condition = scored.condition[pairs]
    order = np.lexsort((scored.lose[pairs], scored.win[pairs], far, condition))
    first = order[np.flatnonzero(np.diff(condition[order], prepend=-1))]
    nearest = first[np.lexsort((condition[first], far[first]))[:AT_THE_EDGE]]
    return pairs[nearest].tolist()


def _shown(session: Session, scored: Scored, places: list[int]) -> dict[int, PairOut]:
    ids = {place: int(scored.conditions.id[scored.condition[place]]) for place in places}
    images = repository_pairs.candidate_images(session, set(ids.values()))
    prompts = repository_pairs.prompts(session, set(ids.values()))
    return {
        place: PairOut(
            condition_id=condition,
            split=Split.VALIDATION if scored.conditions.is_held_out[scored.condition[place]] else Split.TRAIN,
            subject_id=int(scored.conditions.subject[scored.condition[place]]),
            prompt=prompts[condition],
            win_candidate_id=int(scored.win[place]),
            lose_candidate_id=int(scored.lose[place]),
            win_image=images[int(scored.win[place])],
            lose_image=images[int(scored.lose[place])],
            p_win=float(scored.p_win[place]),
            votes=int(scored.number[place]),
            reasons=list(scored.reasons[scored.reason[place]]),
        )
        for place, condition in ids.items()
    }
