"""Small SVG plots of a report: a line or a dot a cell. Colours and dashes are classes of the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 250  # so that text keeps its size on a phone of 360 px
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 38
COLOURS, DASHES = 6, 2
MOST = COLOURS * DASHES  # series that can be told apart


@dataclass(frozen=True)
class Series:
    """`points`: (x, y), ascending in x, all positive."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Dot:
    """`size`: relative area, 0 to 1; `front`: whether none is better in everything."""

    name: str
    x: float
    y: float
    size: float
    front: bool


def style(index: int) -> str:
    """The classes of the series at a place of the legend."""
    return f"c{index % COLOURS} d{index // COLOURS % DASHES}"


def lines(series: Sequence[Series], x_title: str, y_title: str, alt: str) -> str:
    """At most MOST series; both axes logarithmic, x with a tick a value."""
    series = series[:MOST]
    xs = sorted({x for one in series for x, _ in one.points})
    ys = [y for one in series for _, y in one.points]
    across, up = _scale(xs, LEFT, WIDTH - RIGHT), _scale(ys, HEIGHT - BOTTOM, TOP)
    body = [*_grid_y(ys, up), *(_tick_x(across(x), number(x)) for x in _thinned(xs))]
    for index, one in enumerate(series):
        places = [(across(x), up(y)) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body.append(f'<g class="{style(index)}"><title>{escape(one.name)}</title><polyline points="{path}"/>')
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
        body.append("</g>")
    return _svg(body, x_title, y_title, alt)


def dots(points: Sequence[Dot], x_title: str, y_title: str, alt: str, places: Sequence[int] = ()) -> str:
    """x logarithmic, y linear from 0; an area a point; those on the front are joined.

    `places`: of each in the legend; without, their order. Those beyond MOST are left out.
    """
    kept = [(place, p) for place, p in zip(places or range(len(points)), points, strict=True) if place < MOST]
    points = [p for _, p in kept]
    across = _scale([p.x for p in points], LEFT + 16, WIDTH - RIGHT - 16)
    top = _round_up(max((p.y for p in points), default=0.0) or 1.0)

    def up(y: float) -> float:
        return (HEIGHT - BOTTOM - 14) + (TOP + 14 - (HEIGHT - BOTTOM - 14)) * y / top

    body = [_line_y(up(value), number(value)) for value in (0.0, top / 2, top)]
    ticks = _ticks([p.x for p in points]) or sorted({p.x for p in points})
    body += [_tick_x(across(x), number(x)) for x in _thinned(ticks)]
    front = sorted((p.x, p.y) for p in points if p.front)
    joined = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in front)
    body.append(f'<polyline class="front" points="{joined}"/>')
    # small ones last, so that no large one hides them
    for index, p in sorted(kept, key=lambda pair: -pair[1].size):
        radius = 4 + 10 * math.sqrt(p.size)
        body.append(
            f'<g class="{style(index)}"><title>{escape(p.name)}</title>'
            f'<circle class="dot" cx="{across(p.x):.1f}" cy="{up(p.y):.1f}" r="{radius:.1f}"/></g>'
        )
    return _svg(body, x_title, y_title, alt)


def number(value: float) -> str:
    """Short: 1.5k, 20, 0.25."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """Logarithmic, with a little room at both ends."""
    low, high = (math.log(min(values, default=1)), math.log(max(values, default=1)))
    room = 0.04 * (high - low) or 0.5
    low, high = low - room, high + room
    return lambda value: start + (end - start) * (math.log(value) - low) / (high - low)


def _ticks(values: Sequence[float]) -> list[float]:
    """Powers of ten within the values, with as many steps between them as make three ticks."""
    if not values:
        return []
    low, high = min(values), max(values)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        found = [s * 10.0**p for p in powers for s in steps if low * 0.95 <= s * 10.0**p <= high * 1.05]
        if len(found) >= 3:
            break
    return found or [low]


def _round_up(value: float) -> float:
    """To 1, 2, 4 or 6 times a power of ten, whose halves are short too."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(s * power for s in (1, 2, 4, 6, 10) if s * power >= value * 0.999)


def _thinned(values: Sequence[float], most: int = 7) -> list[float]:
    return list(values[:: math.ceil(len(values) / most) or 1])


def _grid_y(values: Sequence[float], up: Callable[[float], float]) -> list[str]:
    return [_line_y(up(value), number(value)) for value in _thinned(_ticks(values))]


def _line_y(y: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    )


def _tick_x(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(text)}</text>'


def _svg(body: Sequence[str], x_title: str, y_title: str, alt: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}">'
        + "".join(body)
        + f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(x_title)}</text>'
        f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text></svg>'
    )
