"""Plots as SVG, written by hand: points with intervals, and curves. Nothing but text comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

INK, QUIET, LINE, POINT, MARK = "#1b1f24", "#66707b", "#d8dde2", "#1f6feb", "#b45309"
DASHED = f'stroke="{MARK}" stroke-dasharray="4 3"'
FONT = 'font-family="system-ui, sans-serif" font-size="13"'


@dataclass(frozen=True)
class Point:
    """A value with its interval; ``label`` names its row or its place on the x axis."""

    label: str
    mean: float
    low: float
    high: float


def rows(title: str, points: Sequence[Point], *, percent: bool = False, reference: float | None = None) -> str:
    """One row a point: a dot with its interval, the number beside it, and a dashed line at ``reference``."""
    left, width, step, top = 330, 420, 26, 56
    height = top + step * len(points) + 40
    low, high = _range(points, reference)
    at = _scale(low, high, left, left + width)
    parts = _frame(left + width + 110, height, title)
    for tick in _ticks(low, high):
        x = at(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{top - 12}" x2="{x:.1f}" y2="{height - 34}" stroke="{LINE}"/>')
        parts.append(_text(x, height - 16, _number(tick, percent, short=True), QUIET, "middle"))
    if reference is not None:
        x = at(reference)
        parts.append(f'<line x1="{x:.1f}" y1="{top - 12}" x2="{x:.1f}" y2="{height - 34}" {DASHED}/>')
    for index, point in enumerate(points):
        y = top + step * index
        parts.append(_text(left - 14, y + 4, point.label, INK, "end"))
        parts.append(
            f'<line x1="{at(point.low):.1f}" y1="{y}" x2="{at(point.high):.1f}" y2="{y}" stroke="{POINT}" '
            'stroke-width="2.5" stroke-linecap="round"/>'
        )
        parts.append(f'<circle cx="{at(point.mean):.1f}" cy="{y}" r="4.5" fill="{POINT}"/>')
        parts.append(_text(left + width + 16, y + 4, _number(point.mean, percent), INK, "start"))
    return "\n".join([*parts, "</svg>\n"])


def curve(
    title: str, across: str, points: Sequence[Point], joined: bool = True, *, reference: float | None = None
) -> str:
    """Shares over named places, evenly spaced, with intervals; a dashed line at ``reference``."""
    left, right, top, bottom = 60, 620, 56, 300
    low, high = _range(points, reference)
    up = _scale(low, high, bottom, top)
    place = [left + (right - left) * (index + 0.5) / len(points) for index in range(len(points))]
    parts = _frame(right + 30, bottom + 62, title)
    for tick in _ticks(low, high):
        y = up(tick)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{LINE}"/>')
        parts.append(_text(left - 8, y + 4, _number(tick, True, short=True), QUIET, "end"))
    if reference is not None:
        y = up(reference)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" {DASHED}/>')
    if joined:
        path = " ".join(f"{x:.1f},{up(point.mean):.1f}" for x, point in zip(place, points, strict=True))
        line = f'stroke="{POINT}" stroke-width="1.5" stroke-opacity="0.5"'
        parts.append(f'<polyline points="{path}" fill="none" {line}/>')
    for x, point in zip(place, points, strict=True):
        parts.append(
            f'<line x1="{x:.1f}" y1="{up(point.low):.1f}" x2="{x:.1f}" y2="{up(point.high):.1f}" stroke="{POINT}" '
            'stroke-width="2.5" stroke-linecap="round"/>'
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{up(point.mean):.1f}" r="4.5" fill="{POINT}"/>')
        parts.append(_text(x, bottom + 22, point.label, INK, "middle"))
    parts.append(_text((left + right) / 2, bottom + 46, across, QUIET, "middle"))
    return "\n".join([*parts, "</svg>\n"])


def _frame(width: float, height: float, title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" {FONT}>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="16" y="26" fill="{INK}" font-weight="600" font-size="15">{escape(title)}</text>',
    ]


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'


def _range(points: Sequence[Point], reference: float | None) -> tuple[float, float]:
    found = [value for point in points for value in (point.low, point.high)]
    found += [] if reference is None else [reference]
    low, high = min(found), max(found)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round values inside the range."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    size = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first = math.floor(low / size)
    return [n * size for n in range(first, first + 20) if low <= n * size <= high]


def _number(value: float, percent: bool, short: bool = False) -> str:
    if percent:
        return f"{100 * value:.0f} %" if short else f"{100 * value:.1f} %"
    return f"{value:.4g}" if abs(value) < 100 else f"{value:.0f}"
