"""The leaderboard: Bradley–Terry strengths of a project's generators with their uncertainty."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from sqlalchemy.orm import Session

from backend.catalogue.models import Generator, Project, Split
from backend.preferences import bradley_terry, intervals, repository
from backend.preferences.bradley_terry import Floats
from backend.preferences.intervals import Share
from backend.preferences.schemas import LeaderboardOut, MatrixCell, RatingOut, ShareOut, VoteFilter

ROUNDS = 1000
# Two resampled annotators say nothing about how annotators differ.
LEAST_CLUSTERS = 3

Row = tuple[int, int, str, int]
PersonRow = tuple[int, int, int, str, int]


@dataclass(frozen=True)
class Estimate:
    """Ratings [n] on the Elo scale with mean 1500, in the order of the players."""

    ratings: Floats
    low: Floats
    high: Floats
    low_clustered: Floats | None
    high_clustered: Floats | None
    rank_best: list[int]
    rank_worst: list[int]
    groups: list[int]
    tie: float


@lru_cache(maxsize=64)
def estimate(
    size: int, rows: tuple[Row, ...], by_person: tuple[PersonRow, ...], base: int | None = None, rounds: int = ROUNDS
) -> Estimate:
    """Ratings from votes (i, j, outcome, count), and from (person, i, j, outcome, count) how annotators differ.

    The same counts give the same numbers (the bootstrap's seed is fixed), so that they may be remembered: a page that
    is loaded again while nobody judged costs two aggregating queries.
    """
    counts = bradley_terry.pair_counts(size, rows)
    best = bradley_terry.fit(counts)
    draws = intervals.bootstrap(counts, rounds=rounds, start=best)
    low, high = intervals.interval(bradley_terry.elo(draws, base))
    low_clustered = high_clustered = None
    rank_draws, people = draws, None
    if len({row[0] for row in by_person}) >= LEAST_CLUSTERS:
        clusters = intervals.cluster(counts, by_person)
        people = clusters.people
        rank_draws = intervals.bootstrap(counts, rounds=rounds, start=best, clusters=clusters)
        low_clustered, high_clustered = intervals.interval(bradley_terry.elo(rank_draws, base), clusters=people)
    rank_best, rank_worst = intervals.rank_ranges(rank_draws, clusters=people)
    return Estimate(
        bradley_terry.elo(best.strengths, base),
        low,
        high,
        low_clustered,
        high_clustered,
        rank_best.tolist(),
        rank_worst.tolist(),
        bradley_terry.groups(counts).tolist(),
        float(best.tie),
    )


def leaderboard(
    session: Session, project: Project, chosen: VoteFilter, *, rounds: int = ROUNDS, base_generator: int | None = None
) -> LeaderboardOut:
    """Ratings of the generators that met others in the chosen votes, best first, and the votes between them."""
    votes = repository.generator_votes(session, project.id, chosen)
    by_person = repository.generator_votes_by_person(session, project.id, chosen)
    met = {one for row in votes for one in row[:2]}
    players = [one for one in repository.generators(session, project.id) if one.id in met]
    place = {player.id: index for index, player in enumerate(players)}
    shares, judge, judged_on = _rational_shares(session, project.id)
    ratings: list[RatingOut] = []
    found: Estimate | None = None
    if players:
        found = estimate(
            len(players),
            tuple(sorted((place[a], place[b], outcome, count) for a, b, outcome, count in votes)),
            tuple(sorted((who, place[a], place[b], outcome, count) for who, a, b, outcome, count in by_person)),
            place.get(base_generator) if base_generator is not None else None,
            rounds,
        )
        ratings = _rating_rows(players, votes, found, shares)
    return LeaderboardOut(
        project=project.slug,
        criterion=chosen.criterion,
        who=chosen.who,
        split=chosen.split,
        votes=sum(row[3] for row in votes),
        simulated_votes=repository.simulated_votes(session, project.id, chosen),
        annotators=len({row[0] for row in by_person}),
        tie_parameter=found.tie if found else 0.0,
        groups=len(set(found.groups)) if found else 0,
        judge=judge,
        judged_on=judged_on,
        ratings=ratings,
        matrix=_matrix(votes),
    )


def _rating_rows(
    players: list[Generator], votes: list[Row], found: Estimate, shares: dict[int, Share]
) -> list[RatingOut]:
    tallies = {player.id: [0, 0, 0, 0] for player in players}
    for a, b, outcome, count in votes:
        for player, won in ((a, "a"), (b, "b")):
            kind = {"tie": 2, "both_bad": 3}.get(outcome, 0 if outcome == won else 1)
            tallies[player][kind] += count
    rows = []
    for index in np.argsort(-found.ratings, kind="stable").tolist():
        player = players[index]
        share = shares.get(player.id)
        clustered = found.low_clustered is not None and found.high_clustered is not None
        rows.append(
            RatingOut(
                generator_id=player.id,
                name=player.name,
                parent_id=player.parent_id,
                run_id=player.run_id,
                rating=float(found.ratings[index]),
                low=float(found.low[index]),
                high=float(found.high[index]),
                low_clustered=float(found.low_clustered[index]) if clustered else None,
                high_clustered=float(found.high_clustered[index]) if clustered else None,
                rank_best=found.rank_best[index],
                rank_worst=found.rank_worst[index],
                votes=sum(tallies[player.id]),
                wins=tallies[player.id][0],
                losses=tallies[player.id][1],
                ties=tallies[player.id][2],
                both_bad=tallies[player.id][3],
                group=found.groups[index],
                rational=share_out(share) if share else None,
            )
        )
    return rows


def _matrix(votes: list[Row]) -> list[MatrixCell]:
    cells: dict[tuple[int, int], list[int]] = {}
    for a, b, outcome, count in votes:
        for one, other, won in ((a, b, "a"), (b, a, "b")):
            cell = cells.setdefault((one, other), [0, 0, 0])
            cell[0] += count
            cell[1] += count if outcome == won else 0
            cell[2] += count if outcome in ("tie", "both_bad") else 0
    return [
        MatrixCell(
            generator_id=one,
            versus_id=other,
            votes=total,
            wins=wins,
            ties=ties,
            score=(wins + ties / 2) / total,
        )
        for (one, other), (total, wins, ties) in sorted(cells.items())
    ]


def _rational_shares(session: Session, project_id: int) -> tuple[dict[int, Share], str | None, str | None]:
    """Each generator's share of rational candidates by the judge that judged most, and the conditions it is counted on.

    Held-out conditions alone where any were judged: a tuned generator is not to be praised for what it was shown.
    """
    rows = repository.verdict_counts(session, project_id)
    if not rows:
        return {}, None, None
    told: dict[str, int] = {}
    for judge, _, _, count, _ in rows:
        told[judge] = told.get(judge, 0) + count
    judge = max(sorted(told), key=lambda name: told[name])
    own = [row for row in rows if row[0] == judge]
    held_out = any(row[2] == Split.VALIDATION for row in own)
    counted: dict[int, tuple[int, int]] = {}
    for _, generator, split, count, rational in own:
        if not held_out or split == Split.VALIDATION:
            before = counted.get(generator, (0, 0))
            counted[generator] = (before[0] + count, before[1] + rational)
    shares = {generator: intervals.wilson(rational, count) for generator, (count, rational) in counted.items()}
    return shares, judge, "validation" if held_out else "all"


def share_out(share: Share) -> ShareOut:
    return ShareOut(value=share.value, low=share.low, high=share.high, count=share.count)
