"""Geometry of the pictures on the pages of this room; templates draw it as SVG, colours come from the style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from backend.preferences.quality import Day
from backend.preferences.schemas import LeaderboardOut, MatrixCell, RatingOut


@dataclass(frozen=True)
class Scale:
    """Maps values to 0…`width` (percent of the plot's width), with round ticks inside."""

    low: float
    high: float
    width: float
    ticks: list[float]

    def x(self, value: float) -> float:
        """Where a value stands, cut off at the plot's ends, to a hundredth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(min(1.0, max(0.0, share)) * self.width, 2)


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within low…high, at most `most` or one more."""
    span = max(high - low, 1e-9)
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def rating_scale(ratings: Sequence[RatingOut], width: float = 100) -> Scale:
    """One scale for all bars of a leaderboard; room for every rating, intervals cut off 300 points beyond them."""
    values = [row.rating for row in ratings]
    ends = [end for row in ratings for end in (row.low, row.high, row.low_clustered, row.high_clustered) if end]
    low = max(min([*values, *ends]), min(values) - 300)
    high = min(max([*values, *ends]), max(values) + 300)
    return _with_margin(low, high, width)


def online_scale(ratings: Sequence[RatingOut], width: float = 100) -> Scale:
    """One scale for the online ratings of a leaderboard."""
    ends = [end for row in ratings for end in (row.online.value, row.online.low, row.online.high)]
    return _with_margin(min(ends), max(ends), width)


def _with_margin(low: float, high: float, width: float) -> Scale:
    margin = max(20.0, 0.06 * (high - low))
    low, high = low - margin, high + margin
    return Scale(low, high, width, round_ticks(low, high))


@dataclass(frozen=True)
class MatrixRow:
    """A generator and its cells against every generator in the same order; none against itself or the unmet."""

    rating: RatingOut
    cells: list[MatrixCell | None]


def matrix_rows(board: LeaderboardOut) -> list[MatrixRow]:
    cells = {(cell.generator_id, cell.versus_id): cell for cell in board.matrix}
    return [
        MatrixRow(row, [cells.get((row.generator_id, other.generator_id)) for other in board.ratings])
        for row in board.ratings
    ]


def heat(score: float) -> int:
    """A step of 0…10 on the heat map's colour scale; 5 is even."""
    return round(10 * min(1.0, max(0.0, score)))


@dataclass(frozen=True)
class DayBar:
    """One day: x, middle and width in percent of the plot's width, heights in its units, and what stands below it."""

    day: Day
    x: float
    middle: float
    width: float
    people: float
    simulated: float
    label: str
    agreement: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DayPlot:
    """Bars of judgments, and points of agreement on the same days; 0…1 of agreement is `height` units too."""

    height: int
    most: int
    bars: list[DayBar]

    @property
    def has_agreement(self) -> bool:
        return any(bar.agreement is not None for bar in self.bars)


DAY_HEIGHT = 110
# A single day is not to fill the picture.
LEAST_SLOTS = 10
# Days of agreement with fewer pairs of annotators say nothing.
LEAST_PAIRS = 5


def day_plot(days: Sequence[Day]) -> DayPlot:
    """Judgments and agreement by day, from the left."""
    most = max([1, *(one.people + one.simulated for one in days)])
    slot = 100 / max(LEAST_SLOTS, len(days))
    every = max(1, math.ceil(len(days) / 6))
    bars = []
    for index, one in enumerate(days):
        shown = one.agreement if one.agreement.count >= LEAST_PAIRS else None
        bars.append(
            DayBar(
                day=one,
                x=round(index * slot + slot * 0.14, 2),
                middle=round((index + 0.5) * slot, 2),
                width=round(slot * 0.72, 2),
                people=round(DAY_HEIGHT * one.people / most, 1),
                simulated=round(DAY_HEIGHT * one.simulated / most, 1),
                label=date.fromisoformat(one.day).strftime("%-d %b") if index % every == 0 else "",
                agreement=_above(shown.value) if shown else None,
                low=_above(shown.low) if shown else None,
                high=_above(shown.high) if shown else None,
            )
        )
    return DayPlot(DAY_HEIGHT, most, bars)


def _above(share: float | None) -> float:
    return round(DAY_HEIGHT * (1 - (share or 0.0)), 1)
