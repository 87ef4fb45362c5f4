"""Geometry of the yield plot; the template draws it as SVG, colours come from the style sheet."""

from dataclasses import dataclass

from backend.preferences.schemas import YieldOut, YieldPoint

HEIGHT = 200


@dataclass(frozen=True)
class YieldBar:
    """One threshold: x and width in percent of the plot's width, heights in its units."""

    point: YieldPoint
    x: float
    middle: float
    width: float
    train: float
    validation: float
    is_chosen: bool


@dataclass(frozen=True)
class YieldPlot:
    """Bars from the lowest threshold to the highest; the tallest is `height` units high."""

    height: int
    bars: list[YieldBar]


def yield_plot(figures: YieldOut) -> YieldPlot:
    """Pairs by threshold, the chosen one among them, train and validation stacked."""
    points = {point.threshold: point for point in [*figures.points, figures.chosen]}
    ordered = [points[threshold] for threshold in sorted(points)]
    most = max(1, *(point.pairs for point in ordered))
    slot = 100 / len(ordered)
    bars = [
        YieldBar(
            point=point,
            x=round(index * slot + slot * 0.14, 2),
            middle=round((index + 0.5) * slot, 2),
            width=round(slot * 0.72, 2),
            train=round(HEIGHT * point.train_pairs / most, 1),
            validation=round(HEIGHT * point.validation_pairs / most, 1),
            is_chosen=point.threshold == figures.chosen.threshold,
        )
        for index, point in enumerate(ordered)
    ]
    return YieldPlot(HEIGHT, bars)
