"""The curves of a run as a page draws them without a script; `static/training/charts.js` draws the same ones live."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.training.schemas import Series

# The drawing's own units; it is stretched to whatever room there is, and lines keep their width.
WIDTH, HEIGHT = 1000.0, 300.0
GRID_LINES = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart: where it comes from and its name in words."""

    source: str
    name: str
    label: str

    @property
    def key(self) -> str:
        return f"{self.source}/{self.name}"


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves that are read together, and what they tell."""

    key: str
    title: str
    help: str
    lines: tuple[Line, ...]
    floor: float | None = None
    ceiling: float | None = None


def _trained(name: str, label: str) -> Line:
    return Line("metrics", name, label)


def _held_out(name: str, label: str) -> Line:
    return Line("validation", name, label)


CHARTS = (
    Chart(
        "drift",
        "D_w and D_l: error against the reference",
        "Below 0 is better than the reference. A healthy run keeps D_w at or below 0 while D_l rises.",
        (
            _trained("d_win", "D_w, winners"),
            _trained("d_lose", "D_l, losers"),
            _held_out("d_win", "D_w, held out"),
            _held_out("d_lose", "D_l, held out"),
        ),
    ),
    Chart(
        "accuracy",
        "Implicit accuracy",
        "Share of pairs whose winner has the higher implicit reward, and of pairs whose winner got worse.",
        (
            _trained("accuracy", "training pairs"),
            _held_out("accuracy", "held-out pairs"),
            _trained("capo_accuracy", "cropped pairs"),
            _trained("win_worse", "winner got worse"),
        ),
        floor=0.0,
        ceiling=1.0,
    ),
    Chart(
        "margin",
        "Margin of implicit rewards",
        "Reward of the winner less that of the loser; 0 at the start.",
        (
            _trained("margin", "training pairs"),
            _held_out("margin", "held-out pairs"),
            _trained("capo_margin", "cropped pairs"),
        ),
    ),
    Chart(
        "terms",
        "Loss terms, unweighted",
        "Each term before its λ. The preference terms start at ln 2 = 0.693.",
        (
            _trained("loss_preference", "preference"),
            _trained("loss_capo", "CAPO"),
            _trained("loss_scpo", "SCPO"),
            _trained("loss_replay", "replay"),
            _trained("loss_foreground", "foreground"),
        ),
        floor=0.0,
    ),
    Chart("loss", "Total loss", "The weighted sum that is minimised.", (_trained("loss", "total"),)),
    Chart(
        "foreground",
        "Foreground error against the reference",
        "Above 0 the subject itself is drawn worse than by the reference.",
        (
            _trained("foreground_against_reference", "training pairs"),
            _held_out("foreground_against_reference", "held-out pairs"),
        ),
    ),
    Chart("gradient", "Gradient norm", "Before clipping.", (_trained("grad_norm", "gradient norm"),), floor=0.0),
    Chart(
        "rate", "Learning rate", "After warm-up and schedule.", (_trained("learning_rate", "learning rate"),), floor=0.0
    ),
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One curve with its points in the drawing's units."""

    line: Line
    style: str
    points: str
    last: str
    is_single: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart ready for its template; `ticks` run from top to bottom."""

    chart: Chart
    curves: tuple[Drawn, ...]
    ticks: tuple[str, ...]
    zero: float | None
    steps: tuple[str, ...]


def draw(chart: Chart, series: dict[str, Series], total_steps: int) -> Drawing | None:
    """The chart of what has been logged; None where none of its curves has a point."""
    present = [(number, line, series[line.key]) for number, line in enumerate(chart.lines) if line.key in series]
    values = [value for _, _, curve in present for value in curve.values]
    if not values:
        return None
    low, high = bounds(chart, values)
    end = max(total_steps, 1)

    def place(step: int, value: float) -> str:
        return f"{WIDTH * step / end:.1f},{HEIGHT * (high - value) / (high - low):.1f}"

    curves = tuple(
        Drawn(
            line=line,
            style=f"s{number + 1}",
            points=" ".join(
                place(step, min(max(value, low), high)) for step, value in zip(curve.steps, curve.values, strict=True)
            ),
            last=number_words(curve.values[-1]),
            is_single=len(curve.values) == 1,
        )
        for number, line, curve in present
    )
    gap = (high - low) / GRID_LINES
    return Drawing(
        chart=chart,
        curves=curves,
        ticks=tuple(tick_words(high - gap * index, gap) for index in range(GRID_LINES + 1)),
        zero=HEIGHT * high / (high - low) if low < 0 < high else None,
        steps=tuple(f"{end * share // 2:,}" for share in range(3)),
    )


def draw_all(series: Sequence[Series], total_steps: int, charts: Sequence[Chart] = CHARTS) -> list[Drawing]:
    known = {f"{curve.source}/{curve.name}": curve for curve in series}
    return [drawing for chart in charts if (drawing := draw(chart, known, total_steps)) is not None]


def bounds(chart: Chart, values: Sequence[float]) -> tuple[float, float]:
    """Round bounds that hold all values and make the grid lines fall on round numbers."""
    low = min(values) if chart.floor is None else chart.floor
    high = max(values) if chart.ceiling is None else chart.ceiling
    if chart.floor is None and low > 0 and low < high / 2:
        low = 0.0
    if high <= low:
        spread = abs(high) / 10 or 1.0
        low, high = (low, low + spread) if chart.floor is not None else (low - spread, high + spread)
    step = nice_step((high - low) / GRID_LINES)
    bottom = math.floor(low / step + 1e-9) * step
    while bottom + step * GRID_LINES < high - 1e-9 * step:
        step = nice_step(step * 1.01)
        bottom = math.floor(low / step + 1e-9) * step
    return bottom, bottom + step * GRID_LINES


def nice_step(least: float) -> float:
    """The smallest of 1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    for factor in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5):
        if factor * power >= least * (1 - 1e-9):
            return factor * power
    return 10.0 * power


def tick_words(value: float, gap: float) -> str:
    """A tick with as many decimals as its distance to the next asks for."""
    if abs(value) < gap * 1e-6:
        return "0"
    if gap < 1e-3:
        return _signed(f"{value:.2g}")
    decimals = max(0, 1 - math.floor(math.log10(gap)))
    text = f"{value:.{decimals}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text)


def number_words(value: float) -> str:
    """Whole numbers as they are, others with three significant digits."""
    if isinstance(value, int) or abs(value) >= 1000:
        return _signed(f"{value:,.0f}")
    mantissa, e, exponent = f"{value:.3g}".partition("e")
    return _signed(f"{mantissa}e{int(exponent)}" if e else mantissa)


def _signed(text: str) -> str:
    """With a minus sign in place of the hyphen in front."""
    return f"−{text[1:]}" if text.startswith("-") else text
