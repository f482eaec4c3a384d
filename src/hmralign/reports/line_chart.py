"""A chart of several curves as inline SVG: no script, no file beside the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from hmralign.structures import InputError

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 230.0, 62.0, 14.0, 12.0, 54.0
_COLORS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#854d0e", "#475569")

Curve = Sequence[tuple[float, float]]
"""Points (x, y) in the order of x."""


def line_chart(curves: Mapping[str, Curve], title: str, across: str) -> str:
    """The curves by name, with the range of both axes. Raises InputError where there is no finite point."""
    points = [p for curve in curves.values() for p in curve if all(map(math.isfinite, p))]
    if not points:
        raise InputError(f"the chart '{title}' has no finite point to draw")
    (left, right), (low, high) = (_range([p[axis] for p in points]) for axis in (0, 1))

    def place(x: float, y: float) -> str:
        h = _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        v = _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{h:.1f},{v:.1f}"

    lines, names = [], []
    for number, (name, curve) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        drawn = " ".join(place(x, y) for x, y in curve if math.isfinite(x) and math.isfinite(y))
        lines.append(f'<polyline points="{drawn}" fill="none" stroke="{color}" stroke-width="2"/>')
        names.append(f'<tspan fill="{color}">{escape(name)}</tspan>')
    base = _HEIGHT - _BOTTOM
    labels = (
        f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{high:.4g}</text>'
        f'<text x="{_LEFT - 6}" y="{base}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{_LEFT}" y="{base + 16}">{left:.4g}</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{base + 16}" text-anchor="end">{right:.4g} {escape(across)}</text>'
        f'<text x="{_LEFT}" y="{base + 38}">{"&#160;&#160; ".join(names)}</text>'
    )
    axes = f'<path d="M{_LEFT},{_TOP}V{base}H{_WIDTH - _RIGHT}" fill="none" stroke="#94a3b8"/>'
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" font-size="12" '
        f'fill="currentColor" font-family="sans-serif" aria-label="{escape(title)}">'
        f"{axes}{''.join(lines)}{labels}</svg>"
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
