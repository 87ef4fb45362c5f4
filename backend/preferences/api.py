"""REST of the preferences: ratings, pairs before they are frozen, and what thresholds would give."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from backend.catalogue.access import ProjectForLead
from backend.catalogue.models import Criterion, Split
from backend.kit.database import ReadSession
from backend.kit.ids import Id
from backend.kit.paging import Paging
from backend.preferences import service, slices
from backend.preferences.schemas import (
    REASON,
    SLICE,
    ConditionPairsOut,
    LeaderboardOut,
    LossesOut,
    PairRules,
    PairsOut,
    SlicesOut,
    VoteFilter,
    Who,
    YieldOut,
)

router = APIRouter(tags=["preferences"])


def _rules(
    criterion: Criterion = Criterion.SPATIAL_RATIONALITY,
    threshold: Annotated[float, Query(ge=0.5, le=1)] = 0.75,
    min_votes: Annotated[int, Query(ge=1, le=1000)] = 1,
    max_pairs_per_condition: Annotated[int, Query(ge=1, le=1000)] = 8,
    max_pairs_per_subject: Annotated[int | None, Query(ge=1)] = None,
    max_pairs_per_reason: Annotated[int | None, Query(ge=1)] = None,
    include_simulated: bool | None = None,
    weigh_annotators: bool = True,
) -> PairRules:
    return PairRules(
        criterion=criterion,
        threshold=threshold,
        min_votes=min_votes,
        max_pairs_per_condition=max_pairs_per_condition,
        max_pairs_per_subject=max_pairs_per_subject,
        max_pairs_per_reason=max_pairs_per_reason,
        include_simulated=include_simulated,
        weigh_annotators=weigh_annotators,
    )


RulesQuery = Annotated[PairRules, Depends(_rules)]


def _votes(
    criterion: Criterion = Criterion.SPATIAL_RATIONALITY,
    include_simulated: Annotated[bool, Query(description="Whether simulated annotators' votes count.")] = True,
    split: Annotated[Split | None, Query(description="Only votes on conditions of this split.")] = None,
    reason: Annotated[str | None, Query(pattern=REASON, description="Only votes lost for this reason.")] = None,
    slice: Annotated[str | None, Query(pattern=SLICE, description="As in subject=car or viewpoint=front.")] = None,
    prompt: Annotated[str | None, Query(max_length=200, description="Only conditions whose prompt has this.")] = None,
) -> VoteFilter:
    who = Who.ALL if include_simulated else Who.PEOPLE
    return VoteFilter(criterion=criterion, who=who, split=split, reason=reason, slice=slice, prompt=prompt)


VotesQuery = Annotated[VoteFilter, Depends(_votes)]


@router.get("/projects/{slug}/ratings")
def ratings(
    project: ProjectForLead,
    session: ReadSession,
    chosen: VotesQuery,
    base_generator: Annotated[int | None, Query(description="Put this generator at 1500 instead of the mean.")] = None,
) -> LeaderboardOut:
    """Bradley–Terry ratings with ties (Davidson) on the Elo scale, with 95 % intervals, best first."""
    return service.leaderboard(session, project, chosen, base_generator=base_generator)


@router.get("/projects/{slug}/ratings/by/{dimension}")
def ratings_by(project: ProjectForLead, session: ReadSession, chosen: VotesQuery, dimension: str) -> SlicesOut:
    """Ratings within each value of a dimension: criterion, split, reason, subject, or an attribute of the specs."""
    return slices.ratings_by(session, project, chosen, dimension)


@router.get("/projects/{slug}/ratings/losses")
def losses(project: ProjectForLead, session: ReadSession, chosen: VotesQuery) -> list[LossesOut]:
    """For each generator, how many of its candidates were marked as losing and the reasons given against them."""
    return slices.losses_by_generator(session, project, chosen)[0]


@router.get("/projects/{slug}/pairs")
def pairs(project: ProjectForLead, session: ReadSession, rules: RulesQuery, page: Paging) -> PairsOut:
    """Preference pairs the rules would choose now, condition by condition; `limit` counts conditions."""
    return service.pairs_page(session, project, rules, page)


@router.get("/projects/{slug}/pairs/yield")
def pairs_yield(project: ProjectForLead, session: ReadSession, rules: RulesQuery) -> YieldOut:
    """How many pairs, conditions, subjects and winners each threshold would give, before anything is frozen."""
    return service.threshold_yield(session, project, rules)


@router.get("/projects/{slug}/conditions/{condition_id}/pairs")
def condition_pairs(
    project: ProjectForLead, session: ReadSession, rules: RulesQuery, condition_id: Id
) -> ConditionPairsOut:
    """The posterior p(win) of every pair of a condition's candidates, and why the rules leave a pair out."""
    return service.condition_pairs(session, project, rules, condition_id)
