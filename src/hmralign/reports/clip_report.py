"""The HTML report of a clip: one offline page with a slider over its moments.

It is the page of photos (`person_report`), with moments in place of hypotheses: the slider chooses one, the stage shows
the body of that moment over its picture, and a chart shows the doubt of every frame, not of the moments alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from hmralign.rendering.colormap import magnitude_colors
from hmralign.reports.mesh_packing import base64_text, packed_vertices, page_data
from hmralign.reports.person_report import (
    caveats_box,
    colorbar,
    data_uri,
    facts_table,
    figure,
    limb_table,
    policy,
    spread_scale,
    tabs_of,
)
from hmralign.reports.report_data import LimbRow
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError

PICTURE_SIDE = 480
"""Longer side of the pictures behind the bodies, pixels."""
_STRIP_SIDE = 640
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720.0, 190.0, 46.0, 12.0, 12.0, 30.0
"""Size of the chart in its own units; the last four are margins."""


@dataclass(frozen=True)
class ClipMoments:
    """One track at some of its moments (first axis), for the 3D view.

    `vertices` (M, V, 3) metres in `cam`, `spread` (M, V) metres, `times` (M,) seconds, `frames` (M,) their numbers.
    `pictures` are JPEG-able uint8 pictures of `window` = (left, top, right, bottom), or none. `K` (3, 3).
    """

    vertices: np.ndarray
    faces: np.ndarray
    spread: np.ndarray
    times: np.ndarray
    frames: np.ndarray
    K: np.ndarray
    window: tuple[int, int, int, int]
    pictures: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class ClipPerson:
    """One track: moments for the 3D view, and doubt over all of its frames.

    `times` (T,) seconds, `spread` (T,) mean metres over the joints, `interpolated` and `exchanged` (T,) flags.
    """

    name: str
    moments: ClipMoments
    times: np.ndarray
    spread: np.ndarray
    interpolated: np.ndarray
    exchanged: np.ndarray
    facts: Mapping[str, str] = field(default_factory=dict)
    limbs: Sequence[LimbRow] = ()


@dataclass(frozen=True)
class ClipReport:
    """A clip: its tracks, pictures of the overlay with captions, facts, and what a reader must not overlook."""

    title: str
    summary: str
    persons: Sequence[ClipPerson]
    strip: Sequence[tuple[str, np.ndarray]] = ()
    files: Sequence[tuple[str, str]] = ()
    """Words and relative address of files beside the page."""
    facts: Mapping[str, str] = field(default_factory=dict)
    caveats: Sequence[str] = ()


def write_clip_report(path: Path, report: ClipReport) -> Path:
    """Write the page, whole or not at all. Raises InputError where a track has no moment to show."""
    return write_whole(path, render_clip_report(report))


def render_clip_report(report: ClipReport) -> str:
    """The page as text."""
    for person in report.persons:
        if len(person.moments.times) == 0:
            raise InputError(f"'{person.name}' has no moment to show; expected at least one")
    files = resources.files("hmralign.reports") / "viewer"
    script = (files / "viewer.min.js").read_text(encoding="utf-8")
    style = (files / "report.css").read_text(encoding="utf-8")
    return Template((files / "report.html").read_text(encoding="utf-8")).substitute(
        policy=policy(script, style),
        up="",
        title=escape(report.title),
        style=style,
        script=script,
        summary=escape(report.summary),
        facts=f"<div>{facts_table(report.facts, 'This run')}</div>",
        caveats=caveats_box(report.caveats),
        photos=_strip(report),
        tabs=tabs_of([person.name for person in report.persons]),
        persons="".join(_panel(number, person) for number, person in enumerate(report.persons)),
        data=_data(report.persons),
    )


def _strip(report: ClipReport) -> str:
    figures = "".join(figure(picture, _STRIP_SIDE, words, words) for words, picture in report.strip)
    links = "".join(f'<li><a href="{escape(address)}">{escape(words)}</a></li>' for words, address in report.files)
    if not figures and not links:
        return ""
    listed = f'<ul class="files">{links}</ul>' if links else ""
    return f'<section class="photo"><h2>The clip</h2><div class="figures strip">{figures}</div>{listed}</section>'


def _panel(number: int, person: ClipPerson) -> str:
    label = escape(person.name)
    return (
        f'<section class="person" id="person-{number}" role="tabpanel" aria-labelledby="tab-{number}">'
        f'<h2>{label}</h2><div class="work"><div class="viewer">{_stage(person)}{_timeline(person)}{_toolbar()}'
        f"{colorbar(_scale(person))}</div>"
        f'<div class="beside">{chart(person)}{facts_table(person.facts, "Key facts")}</div></div>'
        f'<div class="tables">{limb_table(person.limbs)}</div></section>'
    )


def _scale(person: ClipPerson) -> float:
    return spread_scale(person.moments.spread)


def _stage(person: ClipPerson) -> str:
    pictures = person.moments.pictures
    first = f' src="{data_uri(pictures[0], PICTURE_SIDE)}"' if len(pictures) else ""
    return (
        f'<div class="stage"><img class="backdrop"{first} alt="">'
        '<p class="fallback">3D needs WebGL, which this browser does not offer. The clip beside this page shows the '
        'bodies.</p><p class="hint" aria-hidden="true">drag to turn &middot; scroll to zoom</p></div>'
    )


def _timeline(person: ClipPerson) -> str:
    last = len(person.moments.times) - 1
    return (
        '<div class="timeline"><button type="button" data-play aria-pressed="false">Play</button>'
        f'<input type="range" data-time min="0" max="{last}" step="1" value="0" aria-label="Moment of the clip">'
        f"<output>{escape(_moment(person, 0))}</output></div>"
    )


def _moment(person: ClipPerson, index: int) -> str:
    moments = person.moments
    at = int(np.abs(person.times - moments.times[index]).argmin())
    marks = [" (filled in)"] if person.interpolated[at] else [" (sides exchanged)"] if person.exchanged[at] else []
    return f"{moments.times[index]:.2f} s, frame {int(moments.frames[index])}{''.join(marks)}"


def _toolbar() -> str:
    views = (("photo", "Camera view"), ("front", "Front"), ("side", "Side"), ("top", "Top"))
    buttons = "".join(
        f'<button type="button" data-view="{name}" aria-pressed="false">{text}</button>' for name, text in views
    )
    return (
        f'<div class="toolbar"><div role="group" aria-label="View">{buttons}</div><div role="group" '
        'aria-label="Display"><button type="button" data-toggle="spread" aria-pressed="false">Uncertainty</button>'
        "</div></div>"
    )


def chart(person: ClipPerson) -> str:
    """Mean doubt over time as a drawing; frames that were filled in or read the other way round stand out."""
    times, spread = np.asarray(person.times, np.float64), 100 * np.asarray(person.spread, np.float64)
    top = 100 * spread_scale(np.asarray(person.spread))
    right, low = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    span = max(float(times[-1] - times[0]), 1e-9)

    def x(moment: float) -> float:
        return _LEFT + (moment - times[0]) / span * (right - _LEFT) if len(times) > 1 else _LEFT

    def y(value: float) -> float:
        return low - min(value / top, 1.0) * (low - _TOP)

    bands = [
        f'<rect class="{name}" x="{x(a):.1f}" y="{_TOP}" width="{max(x(b) - x(a), 1.5):.1f}" height="{low - _TOP}"/>'
        for name, flags in (("filled", person.interpolated), ("turned", person.exchanged))
        for a, b in _stretches(times, flags)
    ]
    step = max(1, len(times) // 1500)
    line = " ".join(f"{x(t):.1f},{y(s):.1f}" for t, s in zip(times[::step], spread[::step], strict=True))
    axis = (
        f'<line x1="{_LEFT}" x2="{right}" y1="{low}" y2="{low}"/>'
        f'<line x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{low}"/>'
        f'<text x="{_LEFT + 8}" y="{_TOP + 20}">{top:g} cm</text>'
        f'<text x="{_LEFT - 6}" y="{low}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}">{times[0]:.2f} s</text>'
        f'<text x="{right}" y="{_HEIGHT - 10}" text-anchor="end">{times[-1]:.2f} s</text>'
    )
    cursor = (
        f'<line class="cursor" data-cursor data-from="{times[0]}" data-to="{times[-1]}" data-left="{_LEFT}" '
        f'data-right="{right}" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{low}"/>'
    )
    words = (
        "Disagreement of the hypotheses over time, mean over the joints. Shaded: frames that were filled in (grey) or "
        "in which left and right were taken the other way round than the detector said (amber)."
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{words}">'
        f'{"".join(bands)}<g class="axis">{axis}</g><polyline points="{line}"/>{cursor}</svg>'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _stretches(times: np.ndarray, flags: np.ndarray) -> list[tuple[float, float]]:
    """First and last moment of each stretch of consecutive frames that are flagged."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]])))
    return [(float(times[a]), float(times[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _data(persons: Sequence[ClipPerson]) -> str:
    return page_data((person.moments.faces, _person_data(person)) for person in persons)


def _person_data(person: ClipPerson) -> dict[str, Any]:
    moments, K = person.moments, person.moments.K
    levels = np.rint(np.clip(moments.spread / _scale(person), 0, 1) * 255).astype(np.uint8)
    ramp = np.rint(255 * magnitude_colors(np.linspace(0, 1, 256), 1.0)).astype(np.uint8)
    return {
        "name": person.name,
        "labels": [_moment(person, index) for index in range(len(moments.times))],
        "times": [round(float(t), 4) for t in moments.times],
        "pictures": [data_uri(picture, PICTURE_SIDE) for picture in moments.pictures],
        "levels": base64_text(levels),
        "ramp": base64_text(ramp),
        "K": [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])],
        "window": [int(border) for border in moments.window],
        "spread": None,
        **packed_vertices(moments.vertices),
    }
