"""Active choice in service: where claims go, and how the job that looks at the votes moves it."""

import random
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from backend.catalogue.models import Project
from backend.judging import active, repository_matchups, repository_supervision
from backend.judging.models_serving import Matchup
from backend.judging.repository_matchups import Aim
from backend.kit.database import utcnow

# Votes of a quarter of a minute hardly move a rating; looking at all of them costs a second at a million.
LOOK_EVERY = timedelta(seconds=15)
# Matchups tried before any comparison will do: their comparisons may all be judged, or be the annotator's own.
TRIES = 4
# The least probability that is recorded: what was drawn cannot have been impossible.
LEAST_PROPENSITY = 1e-6


def draw(aims: list[Aim], chance: random.Random) -> list[Aim]:
    """The matchups to look into, in this order, the first with the probability that is recorded of it.

    None where the draw falls on comparisons that belong to no matchup, and before anything is known.
    """
    left = [aim for aim in aims if aim.aimed_at is not None]
    drawn: list[Aim] = []
    if chance.random() >= sum(aim.propensity for aim in left):
        return []
    while left and len(drawn) < TRIES:
        aim = chance.choices(left, weights=[each.propensity for each in left])[0]
        drawn.append(aim)
        left.remove(aim)
    return drawn


def is_due(aims: list[Aim], now: datetime) -> bool:
    """Whether the votes should be looked at again."""
    return bool(aims) and any(aim.aimed_at is None or now - aim.aimed_at > LOOK_EVERY for aim in aims)


def aim(session: Session, project: Project, settings: dict[str, Any], now: datetime | None = None) -> int:
    """Computes anew how the project's most urgent open comparisons are served; how many matchups there are.

    Each criterion gets active draws by how many of its comparisons are open.
    """
    now = now or utcnow()
    rows = repository_supervision.matchups(session, project.id)
    waiting = repository_matchups.open_by_matchup(session, project.id)
    total, in_matchups = sum(waiting.values()), sum(count for key, count in waiting.items() if key is not None)
    for criterion in {row.criterion for row in rows}:
        here = [row for row in rows if row.criterion == criterion]
        votes, places = _votes(session, project.id, criterion, here)
        live = [row for row in here if waiting.get(row.id)]
        shares = _shares(votes, places, live)
        part = sum(waiting.get(row.id, 0) for row in here) / in_matchups if in_matchups else 0.0
        for row in here:
            share = shares.get(row.id, 0.0) * part
            by_chance = waiting.get(row.id, 0) / total if total else 0.0
            floor = settings["random_share"]
            propensity = (1 - floor) * share + floor * by_chance
            repository_matchups.write_aim(session, row.id, share, min(1.0, max(LEAST_PROPENSITY, propensity)), now)
    return len(rows)


def _votes(
    session: Session, project_id: int, criterion: str, rows: list[Matchup]
) -> tuple[active.Tally, dict[int, int]]:
    votes = repository_matchups.votes_by_generators(session, project_id, criterion)
    ids = sorted({i for row in rows for i in (row.generator_a, row.generator_b)} | {i for v in votes for i in v[:2]})
    places = {generator: place for place, generator in enumerate(ids)}
    return active.tally(places, votes), places


def _shares(votes: active.Tally, places: dict[int, int], live: list[Matchup]) -> dict[int, float]:
    if not live:
        return {}
    first = np.array([places[row.generator_a] for row in live])
    second = np.array([places[row.generator_b] for row in live])
    found = active.shares(votes, first, second)
    return {row.id: float(share) for row, share in zip(live, found, strict=True)}
