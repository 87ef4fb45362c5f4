"""Geometry of the pictures on the pages of this room; templates draw it as SVG, colours come from the style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
