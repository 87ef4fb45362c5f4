"""The leaderboard: Bradley–Terry strengths of a project's generators with their uncertainty."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from backend.catalogue.models import Generator, Project, Split
from backend.preferences import bradley_terry, intervals, repository
from backend.preferences.bradley_terry import Floats
from backend.preferences.intervals import Share
from backend.preferences.online_elo import LATEST, OnlineElo, online_elo
from backend.preferences.remembered import remembered
from backend.preferences.schemas import IntervalOut, LeaderboardOut, MatrixCell, RatingOut, ShareOut, VoteFilter

ROUNDS = 1000
# Two resampled annotators say nothing about how annotators differ.
LEAST_CLUSTERS = 3

# (person, whether simulated, the left generator, the right one, outcome as seen from the left, count)
ShownRow = tuple[int, bool, int, int, str, int]


@dataclass(frozen=True)
class Estimate:
    """Ratings [n] on the Elo scale with mean 1500, in the order of the players; `side` is (value, low, high)."""

    ratings: Floats
    low: Floats
    high: Floats
    low_clustered: Floats | None
    high_clustered: Floats | None
    rank_best: list[int]
    rank_worst: list[int]
    groups: list[int]
    tie: float
    side: tuple[float, float, float]

    @property
    def widest(self) -> tuple[Floats, Floats]:
        """The interval to trust: by annotators where there are enough of them, else by votes."""
        if self.low_clustered is None or self.high_clustered is None:
            return self.low, self.high
        return np.minimum(self.low, self.low_clustered), np.maximum(self.high, self.high_clustered)


def estimate(
    size: int, rows: list[tuple[int, int, int, str, int]], *, base: int | None = None, rounds: int = ROUNDS
) -> Estimate:
    """Ratings from votes (person, left, right, outcome, count); the advantage of a side is taken out of them.

    The same counts give the same numbers: the bootstrap's seed is fixed.
    """
    counts = bradley_terry.pair_counts(size, [row[1:] for row in rows], sided=True)
    best = bradley_terry.fit(counts)
    draws = intervals.bootstrap(counts, rounds=rounds, start=best)
    low, high = intervals.interval(bradley_terry.elo(draws.strengths, base))
    low_clustered = high_clustered = people = None
    if len({row[0] for row in rows}) >= LEAST_CLUSTERS:
        clusters = intervals.cluster(counts, rows)
        people = clusters.people
        draws = intervals.bootstrap(counts, rounds=rounds, start=best, clusters=clusters)
        low_clustered, high_clustered = intervals.interval(bradley_terry.elo(draws.strengths, base), clusters=people)
    rank_best, rank_worst = intervals.rank_ranges(draws.strengths, clusters=people)
    side_low, side_high = intervals.interval(draws.side[:, None], clusters=people)
    sides = bradley_terry.ELO_PER_NAT * np.array([best.side, side_low[0], side_high[0]])
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
        (float(sides[0]), float(sides[1]), float(sides[2])),
    )


def leaderboard(
    session: Session, project: Project, chosen: VoteFilter, *, rounds: int = ROUNDS, base_generator: int | None = None
) -> LeaderboardOut:
    """Ratings of the generators that met others in the chosen votes, best first, and the votes between them."""
    board, as_of = remembered(
        session,
        ("leaderboard", project.id, chosen, rounds, base_generator),
        repository.version(session, project.id, chosen.criterion),
        lambda own: _leaderboard(own, project, chosen, rounds, base_generator),
    )
    return board.model_copy(update={"as_of": as_of})


def _leaderboard(
    session: Session, project: Project, chosen: VoteFilter, rounds: int, base_generator: int | None
) -> LeaderboardOut:
    votes = repository.shown_votes(session, project.id, chosen)
    met = {one for row in votes for one in row[2:4]}
    players = [one for one in repository.generators(session, project.id) if one.id in met]
    place = {player.id: index for index, player in enumerate(players)}
    shares, judge, judged_on = _rational_shares(session, project.id)
    ratings: list[RatingOut] = []
    found: Estimate | None = None
    latest = repository.latest_votes(session, project.id, chosen, LATEST)
    if players:
        found = estimate(
            len(players),
            sorted((who, place[left], place[right], said, count) for who, _, left, right, said, count in votes),
            base=place.get(base_generator) if base_generator is not None else None,
            rounds=rounds,
        )
        ratings = _rating_rows(players, votes, found, _online(place, latest), shares)
    return LeaderboardOut(
        project=project.slug,
        criterion=chosen.criterion,
        who=chosen.who,
        split=chosen.split,
        reason=chosen.reason,
        slice=chosen.slice,
        prompt=chosen.prompt,
        as_of=datetime.min,
        votes=sum(row[5] for row in votes),
        simulated_votes=sum(row[5] for row in votes if row[1]),
        annotators=len({row[0] for row in votes}),
        tie_parameter=found.tie if found else 0.0,
        left_side=IntervalOut(value=found.side[0], low=found.side[1], high=found.side[2]) if found else None,
        online_votes=len(latest),
        groups=len(set(found.groups)) if found else 0,
        judge=judge,
        judged_on=judged_on,
        ratings=ratings,
        matrix=_matrix(votes),
    )


def _online(place: dict[int, int], latest: list[tuple[int, int, str]]) -> OnlineElo:
    known = [(place[a], place[b], {"a": 1.0, "b": 0.0}.get(outcome, 0.5)) for a, b, outcome in latest]
    return online_elo(
        len(place), np.array([row[:2] for row in known], dtype=np.int64), np.array([row[2] for row in known])
    )


def _rating_rows(
    players: list[Generator], votes: list[ShownRow], found: Estimate, online: OnlineElo, shares: dict[int, Share]
) -> list[RatingOut]:
    tallies = {player.id: Counter[str]() for player in players}
    for _, _, left, right, outcome, count in votes:
        for player, won in ((left, "a"), (right, "b")):
            kind = outcome if outcome in ("tie", "both_bad") else "wins" if outcome == won else "losses"
            tallies[player][kind] += count
    online_low, online_high = intervals.interval(online.shuffled)
    rows = []
    for index in np.argsort(-found.ratings, kind="stable").tolist():
        player = players[index]
        share = shares.get(player.id)
        tally = tallies[player.id]
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
                votes=tally.total(),
                wins=tally["wins"],
                losses=tally["losses"],
                ties=tally["tie"],
                both_bad=tally["both_bad"],
                group=found.groups[index],
                online=IntervalOut(
                    value=float(online.ratings[index]), low=float(online_low[index]), high=float(online_high[index])
                ),
                rational=share_out(share) if share else None,
            )
        )
    return rows


def _matrix(votes: list[ShownRow]) -> list[MatrixCell]:
    cells: dict[tuple[int, int], list[int]] = {}
    for _, _, left, right, outcome, count in votes:
        for one, other, won in ((left, right, "a"), (right, left, "b")):
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
