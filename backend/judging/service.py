"""The rules of judging: who is given what, for how long, and what an answer changes. Never commits.

A comparison's counters hold at every commit: wanted = open slots + leases + judgments, and it is complete exactly
when its judgments reach `wanted`; only what is served for itself counts, known answers and repeats do not. A skip is an
outcome that gives its slot back: the comparison never returns to who skipped it, others still get it.
"""

import hashlib
from collections.abc import Sequence

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.catalogue.models import Criterion, Project
from backend.judging import repository, repository_leases, repository_matchups, repository_standing
from backend.judging.leases import (
    AlreadyJudged,
    Claimed,
    LeaseLost,
    Progress,
    claim,
    expire,
    judging_settings,
    progress_of,
    release,
    renew,
)
from backend.judging.models import ComparisonKind, ComparisonState
from backend.judging.submission import revealed, revise, stored_answer, submit
from backend.kit.database import utcnow
from backend.kit.errors import Invalid

__all__ = [
    "AlreadyJudged",
    "Claimed",
    "LeaseLost",
    "Progress",
    "claim",
    "expire",
    "judging_settings",
    "make_comparisons",
    "progress",
    "release",
    "renew",
    "revealed",
    "revise",
    "stored_answer",
    "submit",
]


def make_comparisons(
    session: Session,
    project: Project,
    *,
    kind: ComparisonKind | str,
    criterion: Criterion | str,
    candidate_groups: Sequence[Sequence[int]],
    wanted: int = 1,
    propensity: float = 1.0,
    priority: int = 0,
) -> int:
    """Puts each group of candidates (of one condition each) to judgment; how many comparisons are new.

    A group that is there already under the same kind and criterion is left as it is. Raises Invalid where a group
    mixes conditions, names foreign candidates or has a size its kind cannot take.
    """
    kind, criterion = ComparisonKind(kind), Criterion(criterion)
    if wanted < 1:
        raise Invalid(f"A comparison wants at least one judgment, not {wanted}.")
    groups = {_group_hash(group): list(group) for group in candidate_groups}
    known = repository.candidates_of_project(session, project.id, sorted({i for g in groups.values() for i in g}))
    makers = repository_matchups.generators_of(session, known)
    pairs = {digest: _generators(group, makers) for digest, group in groups.items() if set(group) <= set(known)}
    met = {pair for pair in pairs.values() if pair}
    matchups = repository_matchups.ensure_matchups(session, project.id, criterion, met)
    rows = []
    for digest, group in groups.items():
        _check_group(group, kind, known)
        rows.append(
            {
                "project_id": project.id,
                "condition_id": known[group[0]],
                "criterion": criterion.value,
                "kind": kind.value,
                "state": ComparisonState.OPEN.value,
                "wanted": wanted,
                "open_slots": wanted,
                "judgments": 0,
                "priority": priority,
                "propensity": propensity,
                "candidates_hash": digest,
                "matchup_id": matchups.get(pairs[digest]) if pairs[digest] else None,
                "created_at": utcnow(),
            }
        )
    made = repository.insert_comparisons(session, rows)
    entries = [
        {"comparison_id": comparison_id, "position": position, "candidate_id": candidate_id}
        for digest, comparison_id in made.items()
        for position, candidate_id in enumerate(groups[digest])
    ]
    repository.insert_entries(session, entries)
    return len(made)


def _generators(group: Sequence[int], makers: dict[int, int]) -> tuple[int, int] | None:
    """The two generators that meet in a group, the lower id first; None where there are not just two."""
    found = sorted({makers[candidate] for candidate in group})
    return (found[0], found[1]) if len(group) == 2 and len(found) == 2 else None


def _group_hash(group: Sequence[int]) -> str:
    return hashlib.sha256(",".join(map(str, sorted(group))).encode()).hexdigest()


def _check_group(group: Sequence[int], kind: ComparisonKind, known: dict[int, int]) -> None:
    foreign = [candidate for candidate in group if candidate not in known]
    if foreign:
        raise Invalid(f"Candidates {foreign} are not in this project.")
    if len(set(group)) != len(group):
        raise Invalid(f"The group {list(group)} names a candidate twice.")
    if len({known[candidate] for candidate in group}) != 1:
        raise Invalid(f"The candidates {list(group)} belong to different conditions: only those of one are compared.")
    if kind is ComparisonKind.WIN_LOSE and not 2 <= len(group) <= 9:
        raise Invalid(f"A win/lose comparison shows 2 to 9 candidates, one key each; this one has {len(group)}.")
    if kind is not ComparisonKind.WIN_LOSE and len(group) != 2:
        raise Invalid(f"A {kind.value} comparison shows exactly 2 candidates; this one has {len(group)}.")


def progress(session: Session, project: Project, person: Person) -> Progress:
    """How far a person is."""
    situation = repository_standing.situation(session, project.id, person.id, utcnow())
    return progress_of(situation, len(repository_leases.leased(session, project.id, person.id)))


# Fewer would tell an annotator which comparison was the check.
AGREEMENT_FROM = 10


def agreement(session: Session, project: Project, person: Person) -> int | None:
    """How often, in percent, a person gave the answer that was known; None where it is not shown or too few were."""
    seen, right = repository_standing.known_answers(session, project.id, person.id)
    if not judging_settings(project)["show_agreement"] or seen < AGREEMENT_FROM:
        return None
    return round(100 * right / seen)
