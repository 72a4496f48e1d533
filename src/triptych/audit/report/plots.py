"""Plots as SVG: small, without scripts, in the colours of the page, with their numbers as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from triptych.audit.diagnostic import percent, short
from triptych.audit.finding import Bars, Curve, Histogram, Plot

_WIDTH, _LEFT, _RIGHT = 340.0, 8.0, 332.0
_ROW = 34.0
_MOST_ROWS = 60
_MOST_CHARS = 46
"""Of a label that stands above its line: so many fit."""


class Line(NamedTuple):
    """A value with its interval, and who it is about."""

    label: str
    value: float
    low: float
    high: float
    severity: str = "info"


def lines(rows: Sequence[Line], expected: tuple[float, float], *, as_share: bool) -> Markup:
    """Draw values with their intervals, one below the other, over the range that is expected."""
    drawn = [row for row in rows if all(map(math.isfinite, row[1:4]))][:_MOST_ROWS]
    if not drawn:
        return Markup()
    write: Callable[[float], str] = percent if as_share else short
    ends = _domain([each for row in drawn for each in row[1:4]], expected, as_share=as_share)
    x = _scale(ends)
    height = _ROW * len(drawn) + 20
    least, most = max(expected[0], ends[0]), min(expected[1], ends[1])
    parts = []
    if least < most and expected != (-math.inf, math.inf):
        parts.append(_rect(x(least), 0, x(most) - x(least), height - 16, "expected"))
    for place, row in enumerate(drawn):
        top = _ROW * place
        said = f"{write(row.value)} ({write(row.low)} to {write(row.high)})"
        label = (
            row.label
            if len(row.label) <= _MOST_CHARS - len(said) + 12
            else f"{row.label[: _MOST_CHARS - len(said) + 11]}…"
        )
        parts += [
            _text(_LEFT, top + 13, label),
            _text(_RIGHT, top + 13, said, "end"),
            Markup('<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _RIGHT, top + 23, top + 23),
            Markup('<line class="reach {}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                row.severity, x(row.low), max(x(row.high), x(row.low) + 1), top + 23, top + 23
            ),
            Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="4"/>').format(row.severity, x(row.value), top + 23),
        ]
    parts += [
        _text(_LEFT, height - 4, write(ends[0]), quiet=True),
        _text(_RIGHT, height - 4, write(ends[1]), "end", quiet=True),
    ]
    told = "; ".join(
        f"{row.label} {write(row.value)}, interval {write(row.low)} to {write(row.high)}".strip() for row in drawn
    )
    return _svg(height, told, parts)


def plot(shape: Plot) -> Markup:
    """Draw what a finding shows; nothing where there is no number in it."""
    if isinstance(shape, Histogram):
        return _histogram(shape)
    return _bars(shape) if isinstance(shape, Bars) else _curve(shape)


def _bars(shape: Bars) -> Markup:
    known = len(shape.low) == len(shape.high) == len(shape.values)
    rows = [
        Line(label, value, *((shape.low[place], shape.high[place]) if known else (value, value)))
        for place, (label, value) in enumerate(zip(shape.labels, shape.values, strict=False))
        if math.isfinite(value)
    ][:_MOST_ROWS]
    if not rows:
        return Markup()
    ends = _domain([0.0, *(each for row in rows for each in row[1:4])], (-math.inf, math.inf), as_share=False)
    x = _scale(ends)
    parts: list[Markup] = []
    for place, row in enumerate(rows):
        top, zero = _ROW * place, x(max(ends[0], 0.0))
        parts += [
            _text(_LEFT, top + 13, row.label[:_MOST_CHARS]),
            _text(_RIGHT, top + 13, short(row.value), "end"),
            _rect(min(zero, x(row.value)), top + 18, max(abs(x(row.value) - zero), 0.5), 10, "bar"),
        ]
        if known:
            parts.append(
                Markup('<line class="reach thin" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                    x(row.low), x(row.high), top + 23, top + 23
                )
            )
    height = _ROW * len(rows) + 18
    parts.append(_text(_LEFT, height - 4, shape.axis, quiet=True))
    return _svg(height, f"{shape.axis}: " + "; ".join(f"{row.label} {short(row.value)}" for row in rows), parts)


def _histogram(shape: Histogram) -> Markup:
    counts = [count if math.isfinite(count) else 0.0 for count in shape.counts]
    edges = [edge for edge in shape.edges if math.isfinite(edge)]
    most = max(counts, default=0.0)
    if len(edges) != len(counts) + 1 or most <= 0 or edges[0] >= edges[-1]:
        return Markup()
    x = _scale((edges[0], edges[-1]))
    parts = [
        _rect(x(low) + 0.5, 100 - 90 * count / most, max(x(high) - x(low) - 1, 0.5), 90 * count / most, "bar")
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    parts += _axes(short(edges[0]), short(edges[-1]), shape.axis)
    peak = counts.index(most)
    told = f"{shape.axis}, from {short(edges[0])} to {short(edges[-1])}; most between {short(edges[peak])} and {short(edges[peak + 1])}"
    return _svg(134, f"Histogram of {told}", parts)


def _curve(shape: Curve) -> Markup:
    points = [(x, y) for x, y in zip(shape.x, shape.y, strict=False) if math.isfinite(x) and math.isfinite(y)]
    if len(points) < 2:
        return Markup()
    known = len(shape.low) == len(shape.high) == len(shape.x)
    reach = [each for each in (*shape.low, *shape.high) if math.isfinite(each)] if known else []
    across, up = [x for x, _ in points], [*(y for _, y in points), *reach]
    if shape.diagonal:
        across, up = [*across, *up], [*across, *up]
    ends, heights = (min(across), max(across)), (min(up), max(up))
    x = _scale(ends)
    span = (heights[1] - heights[0]) or 1.0

    def y(value: float) -> float:
        return 100 - 90 * (value - heights[0]) / span

    parts = []
    if known:
        bounds = [
            (a, b, c)
            for a, b, c in zip(shape.x, shape.low, shape.high, strict=True)
            if all(map(math.isfinite, (a, b, c)))
        ]
        outline = [(a, b) for a, b, _ in bounds] + [(a, c) for a, _, c in reversed(bounds)]
        parts.append(Markup('<polygon class="reach-area" points="{}"/>').format(_points(outline, x, y)))
    if shape.diagonal:
        corners = [(ends[0], ends[0]), (ends[1], ends[1])]
        parts.append(Markup('<polyline class="diagonal" points="{}"/>').format(_points(corners, x, y)))
    parts.append(Markup('<polyline class="curve" points="{}"/>').format(_points(points, x, y)))
    parts += [
        Markup('<circle class="info" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x(a), y(b)) for a, b in points[:200]
    ]
    parts += [_text(_LEFT, 8, f"{shape.y_axis}: {short(heights[0])} to {short(heights[1])}", quiet=True)]
    parts += _axes(short(ends[0]), short(ends[1]), shape.x_axis)
    told = "; ".join(f"{short(a)}: {short(b)}" for a, b in points[:50])
    return _svg(134, f"{shape.y_axis} over {shape.x_axis}: {told}", parts)


def _axes(first: str, last: str, name: str) -> Iterator[Markup]:
    yield Markup('<line class="rule" x1="{}" x2="{}" y1="100" y2="100"/>').format(_LEFT, _RIGHT)
    yield _text(_LEFT, 113, first, quiet=True)
    yield _text(_RIGHT, 113, last, "end", quiet=True)
    yield _text(_WIDTH / 2, 128, name, "middle", quiet=True)


def _domain(values: Sequence[float], expected: tuple[float, float], *, as_share: bool) -> tuple[float, float]:
    if as_share:
        return min(0.0, *values), max(1.0, *values)
    known = [*values, *(end for end in expected if math.isfinite(end))]
    least, most = min(known), max(known)
    room = 0.08 * (most - least) or abs(most) * 0.1 or 1.0
    return (least - room if least < 0 or least > room else 0.0), most + room


def _scale(ends: tuple[float, float]) -> Callable[[float], float]:
    span = (ends[1] - ends[0]) or 1.0
    return lambda value: _LEFT + (_RIGHT - _LEFT) * (value - ends[0]) / span


def _points(points: Sequence[tuple[float, float]], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    shape = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    return shape.format(kind, x, y, width, height)


def _text(x: float, y: float, text: str, anchor: str = "start", *, quiet: bool = False) -> Markup:
    kind = "quiet" if quiet else "label"
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, readable(text)
    )


def _svg(height: float, told: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg role="img" viewBox="0 0 {:.0f} {:.0f}" aria-label="{}">').format(
        _WIDTH, height, readable(told)[:2000]
    )
    return head + Markup().join(parts) + Markup("</svg>")


def readable(text: str) -> str:
    """Text without the control characters that HTML does not know."""
    return "".join(
        each if each in "\n\t" or (each >= " " and not "\x7f" <= each <= "\x9f") else "\N{REPLACEMENT CHARACTER}"
        for each in text
    )
