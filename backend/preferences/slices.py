"""Ratings within slices of the votes, side by side, and why each generator loses."""

from collections import Counter
from datetime import datetime

from sqlalchemy.orm import Session

from backend.catalogue.models import Criterion, Project, Split
from backend.judging.models import REASONS
from backend.kit.errors import Invalid
from backend.preferences import repository
from backend.preferences.ratings import estimate
from backend.preferences.remembered import remembered
from backend.preferences.schemas import IntervalOut, LossesOut, SliceOut, SlicesOut, VoteFilter

# Intervals of slices are read at a glance: fewer resamples than the leaderboard's do.
ROUNDS = 200
MOST_VALUES = 12
SAMPLED_CONDITIONS = 2000
FIXED = ("criterion", "split", "reason")


def dimensions(session: Session, project: Project) -> dict[str, list[str]]:
    """What conditions can be sliced by, and its values: the subjects' names, and what their specs say in words.

    An attribute with one value, or with more than can be shown side by side, is none.
    """
    version = repository.version(session, project.id)
    if not version.many:
        return _dimensions(session, project.id)
    return remembered(session, ("dimensions", project.id), version, lambda own: _dimensions(own, project.id))[0]


def _dimensions(session: Session, project_id: int) -> dict[str, list[str]]:
    found = {"subject": repository.subject_names_used(session, project_id, MOST_VALUES + 1)}
    values: dict[str, set[str]] = {}
    for spec in repository.sample_specs(session, project_id, SAMPLED_CONDITIONS):
        for key, value in spec.items():
            if isinstance(value, str) and key.replace("_", "").isalpha():
                values.setdefault(key, set()).add(value)
    found |= {key: sorted(values[key]) for key in sorted(values)}
    return {key: names for key, names in found.items() if 1 < len(names) <= MOST_VALUES}


def ratings_by(session: Session, project: Project, chosen: VoteFilter, by: str) -> SlicesOut:
    """Ratings within each value of one dimension; raises Invalid where the votes cannot be sliced by it."""
    conditions = dimensions(session, project)
    known = [*FIXED, *conditions]
    if by not in known:
        raise Invalid(f"Votes cannot be sliced by “{by}” here: choose {', '.join(known)}.")
    parts = _filters(session, project, chosen, by, conditions)
    slices, as_of = remembered(
        session,
        ("slices", project.id, chosen, by),
        repository.version(session, project.id, *sorted({part.criterion for _, part in parts})),
        lambda own: [_slice(own, project, value, part) for value, part in parts],
    )
    return SlicesOut(by=by, dimensions=known, as_of=as_of, slices=slices)


def _filters(
    session: Session, project: Project, chosen: VoteFilter, by: str, conditions: dict[str, list[str]]
) -> list[tuple[str, VoteFilter]]:
    if by == "criterion":
        used = set(repository.used_criteria(session, project.id)) | {chosen.criterion.value}
        return [(one.value, chosen.model_copy(update={"criterion": one})) for one in Criterion if one.value in used]
    if by == "split":
        return [(one.value, chosen.model_copy(update={"split": one})) for one in Split]
    if by == "reason":
        return [(one, chosen.model_copy(update={"reason": one})) for one in REASONS]
    return [(one, chosen.model_copy(update={"slice": f"{by}={one}"})) for one in conditions[by]]


def _slice(session: Session, project: Project, value: str, part: VoteFilter) -> SliceOut:
    votes = repository.shown_votes(session, project.id, part)
    ratings: dict[int, IntervalOut] = {}
    met = sorted({one for row in votes for one in row[2:4]})
    if met:
        place = {generator: index for index, generator in enumerate(met)}
        rows = sorted((who, place[left], place[right], said, count) for who, _, left, right, said, count in votes)
        found = estimate(len(met), rows, rounds=ROUNDS)
        low, high = found.widest
        ratings = {
            generator: IntervalOut(value=float(found.ratings[k]), low=float(low[k]), high=float(high[k]))
            for generator, k in place.items()
        }
    label = value.replace("_", " ")
    return SliceOut(value=value, label=label, votes=sum(row[5] for row in votes), ratings=ratings)


def losses_by_generator(session: Session, project: Project, chosen: VoteFilter) -> tuple[list[LossesOut], datetime]:
    """For each generator, how many of its candidates lost and how often each reason was given, by generator id; and of
    what moment that is."""
    rows, as_of = remembered(
        session,
        ("losses", project.id, chosen),
        repository.version(session, project.id, chosen.criterion),
        lambda own: repository.losing_marks(own, project.id, chosen),
    )
    losses: Counter[int] = Counter()
    reasons: dict[int, Counter[str]] = {}
    for generator, given, count in rows:
        losses[generator] += count
        against = reasons.setdefault(generator, Counter())
        for reason in given:
            against[reason] += count
    found = [
        LossesOut(generator_id=one, losses=losses[one], reasons=dict(reasons[one].most_common()))
        for one in sorted(losses)
    ]
    return found, as_of
