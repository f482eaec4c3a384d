"""The HTML report of a refinement: one offline page with a slider over the steps, from the initial body to the last.

It is the page of photos (`person_report`) with steps in place of hypotheses. Besides the slider it shows both bodies
over the photo and from the side, the losses of every step, and what was said of the pose with whether it holds.
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

from hmralign.rendering.shading import SKY_BLUE, WARM_GOLD
from hmralign.reports.mesh_packing import packed_vertices, page_data
from hmralign.reports.person_report import caveats_box, data_uri, facts_table, figure, policy, tabs_of
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.structures.counted import counted

_PICTURE_SIDE = 480
_BACKDROP_SIDE = 720
_SECONDS_PER_STEP = 0.5
"""How long the slider stays at a step while it plays."""
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720.0, 190.0, 46.0, 12.0, 12.0, 30.0
"""Size of the chart in its own units; the last four are margins."""


@dataclass(frozen=True)
class SaidRow:
    """A statement on the pose: how true it is of the body before and after (0 to 1), and how much it counted."""

    words: str
    before: float
    after: float
    weight: float


@dataclass(frozen=True)
class RefinedPersonPage:
    """One person: `steps` (S, V, 3) metres in `cam`, the initial body first, and losses (S,) of each.

    `faces` (F, 3); `K` (3, 3) is the full image's camera, `window` the part of it that `photo` shows. `figures` are
    pictures with captions. Losses are nats for the keypoints, and the guide's own unit for the words; `text_loss` is
    None where no words pulled.
    """

    name: str
    steps: np.ndarray
    faces: np.ndarray
    K: np.ndarray
    window: tuple[int, int, int, int]
    photo: np.ndarray
    keypoint_loss: np.ndarray
    text_loss: np.ndarray | None = None
    figures: Sequence[tuple[str, np.ndarray]] = ()
    said: Sequence[SaidRow] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise InputError for losses that are not one for each step."""
        losses = [self.keypoint_loss, *([] if self.text_loss is None else [self.text_loss])]
        if len(self.steps) == 0 or any(len(loss) != len(self.steps) for loss in losses):
            raise InputError(
                f"'{self.name}' has {counted(len(self.steps), 'step')} and losses of {[len(loss) for loss in losses]}; "
                "expected at least one step, and as many losses"
            )


@dataclass(frozen=True)
class RefinementReport:
    """A refinement: its people, facts, and what a reader must not overlook."""

    title: str
    summary: str
    persons: Sequence[RefinedPersonPage]
    facts: Mapping[str, str] = field(default_factory=dict)
    caveats: Sequence[str] = ()


def write_refinement_report(path: Path, report: RefinementReport) -> Path:
    """Write the page, whole or not at all. Raises InputError where there is no person."""
    return write_whole(path, render_refinement_report(report))


def render_refinement_report(report: RefinementReport) -> str:
    """The page as text."""
    if not report.persons:
        raise InputError("there is no person to report on; expected at least one")
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
        photos="",
        tabs=tabs_of([person.name for person in report.persons]),
        persons="".join(_panel(number, person) for number, person in enumerate(report.persons)),
        data=_data(report.persons),
    )


def _panel(number: int, person: RefinedPersonPage) -> str:
    figures = "".join(figure(picture, _PICTURE_SIDE, words, words) for words, picture in person.figures)
    return (
        f'<section class="person" id="person-{number}" role="tabpanel" aria-labelledby="tab-{number}">'
        f'<h2>{escape(person.name)}</h2><div class="figures">{figures}</div>'
        f'<div class="work"><div class="viewer">{_stage(person)}{_timeline(person)}{_toolbar()}</div>'
        f'<div class="beside">{loss_chart(person)}{said_table(person.said)}</div></div>'
        f'<div class="tables">{facts_table(person.facts, "Key facts")}</div></section>'
    )


def _stage(person: RefinedPersonPage) -> str:
    return (
        f'<div class="stage"><img class="backdrop" src="{data_uri(person.photo, _BACKDROP_SIDE)}" alt="">'
        '<p class="fallback">3D needs WebGL, which this browser does not offer. The pictures show the first and the '
        'last body.</p><p class="hint" aria-hidden="true">drag to turn &middot; scroll to zoom</p></div>'
    )


def _timeline(person: RefinedPersonPage) -> str:
    last = len(person.steps) - 1  # what one came for is shown first
    return (
        '<div class="timeline"><button type="button" data-play aria-pressed="false">Play</button>'
        f'<input type="range" data-time min="0" max="{last}" step="1" value="{last}" '
        'aria-label="Step of the refinement">'
        f"<output>{escape(_step_label(person, last))}</output></div>"
    )


def _step_label(person: RefinedPersonPage, step: int) -> str:
    name = "Initial body" if step == 0 else f"Step {step} of {len(person.steps) - 1}"
    words = f"{name}: keypoints {person.keypoint_loss[step]:.2f}"
    return words if person.text_loss is None else f"{words}, words {person.text_loss[step]:.3f}"


def _toolbar() -> str:
    views = (("photo", "Camera view"), ("front", "Front"), ("side", "Side"), ("top", "Top"))
    buttons = "".join(
        f'<button type="button" data-view="{name}" aria-pressed="false">{text}</button>' for name, text in views
    )
    ghosts = '<button type="button" data-toggle="all" aria-pressed="false">All steps</button>'
    return (
        f'<div class="toolbar"><div role="group" aria-label="View">{buttons}</div>'
        f'<div role="group" aria-label="Display">{ghosts}</div></div>'
    )


def loss_chart(person: RefinedPersonPage) -> str:
    """Both losses over the steps, each as a share of its own largest value."""
    right, low = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    last = max(len(person.steps) - 1, 1)

    def line(values: np.ndarray, dashed: bool) -> str:
        top = max(float(values.max()), 1e-12)
        points = " ".join(
            f"{_LEFT + step / last * (right - _LEFT):.1f},{low - float(value) / top * (low - _TOP):.1f}"
            for step, value in enumerate(values)
        )
        return f'<polyline points="{points}"{" stroke-dasharray=" + chr(34) + "9 6" + chr(34) if dashed else ""}/>'

    lines = line(person.keypoint_loss, False)
    words = f"Solid: keypoints, from {_range_words(person.keypoint_loss, 2)}."
    if person.text_loss is not None:
        lines += line(person.text_loss, True)
        words += f" Dashed: words, from {_range_words(person.text_loss, 3)}."
    end = (len(person.steps) - 1) * _SECONDS_PER_STEP
    axis = (
        f'<line x1="{_LEFT}" x2="{right}" y1="{low}" y2="{low}"/>'
        f'<line x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{low}"/>'
        f'<text x="{_LEFT - 6}" y="{low}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}">initial</text>'
        f'<text x="{right}" y="{_HEIGHT - 10}" text-anchor="end">step {len(person.steps) - 1}</text>'
    )
    cursor = (
        f'<line class="cursor" data-cursor data-from="0" data-to="{end}" data-left="{_LEFT}" data-right="{right}" '
        f'x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{low}"/>'
    )
    said = f"Losses of each step, each as a share of its largest value. {words}"
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{said}">'
        f'<g class="axis">{axis}</g>{lines}{cursor}</svg><figcaption>{said}</figcaption></figure>'
    )


def _range_words(values: np.ndarray, digits: int) -> str:
    return f"{float(values[0]):.{digits}f} to {float(values[-1]):.{digits}f}"


def said_table(said: Sequence[SaidRow]) -> str:
    """What was said of the pose, and how true it is before and after; empty where nothing was said."""
    if not said:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(row.words)}</th><td>{100 * row.before:.0f} %</td>'
        f"<td>{100 * row.after:.0f} %</td><td>{row.weight:.2f}</td></tr>"
        for row in said
    )
    return (
        '<div class="scroll"><table class="said"><caption>What was said, and how true it is</caption><thead><tr>'
        '<th scope="col">Statement</th><th scope="col">Before</th><th scope="col">After</th>'
        f'<th scope="col">Weight</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _tints(count: int) -> list[list[float]]:
    """Colour of the body at each step: that of the pictures of the initial body, and of the refined one at the end."""
    share = np.linspace(0, 1, count)[:, None] if count > 1 else np.ones((1, 1))
    return np.round((1 - share) * np.array(SKY_BLUE) + share * np.array(WARM_GOLD), 3).tolist()


def _data(persons: Sequence[RefinedPersonPage]) -> str:
    return page_data((person.faces, _person_data(person)) for person in persons)


def _person_data(person: RefinedPersonPage) -> dict[str, Any]:
    K, steps = person.K, range(len(person.steps))
    return {
        "name": person.name,
        "labels": [_step_label(person, step) for step in steps],
        "times": [step * _SECONDS_PER_STEP for step in steps],
        "pictures": [],
        "tints": _tints(len(person.steps)),
        "K": [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])],
        "window": [int(border) for border in person.window],
        "spread": None,
        **packed_vertices(person.steps),
    }
