"""The HTML report: one file that opens without a network and without a server.

Everything is inside: pictures as data URIs, meshes as base64, the viewer and its style. The page forbids itself every
connection (content security policy with the hashes of its own script and style), so a photo's data cannot leave it.
Every string from outside (file names, notes) is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from hmralign.overlays.overlay import SHRINKING
from hmralign.rendering.colormap import magnitude_colors
from hmralign.reports.mesh_packing import base64_text, packed_vertices, page_data
from hmralign.reports.report_data import LimbRow, Report, ReportPerson, ReportPhoto
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.structures.counted import counted

_LOG = logging.getLogger("hmralign.reports")

MAX_BYTES_PER_PERSON = 4 * 2**20
"""A report heavier than this per person is written, with a warning."""

_PHOTO_SIDE = 1200
_PERSON_SIDE = 560
_THUMBNAIL_SIDE = 256
"""That of a contact sheet's tiles: to shrink them took three times as long as to write them, for 7 % of a page."""


def write_report(path: Path, report: Report) -> Path:
    """Write the page (whole or not at all) and return its path.

    Raises `InputError` when no photo has a person to show.
    """
    text = render_report(report)
    persons = sum(len(p.persons) for p in report.photos)
    if len(text) > MAX_BYTES_PER_PERSON * persons:
        _LOG.warning("Report %s has %.1f MB for %d persons.", path, len(text) / 2**20, persons)
    return write_whole(path, text)


def render_report(report: Report) -> str:
    """The page as text."""
    persons = [(photo, person) for photo in report.photos for person in photo.persons]
    if not persons:
        raise InputError("There is no person to report on; expected at least one.")
    files = resources.files("hmralign.reports") / "viewer"
    script = (files / "viewer.min.js").read_text(encoding="utf-8")
    style = (files / "report.css").read_text(encoding="utf-8")
    labels = [_tab_label(report, photo, person) for photo, person in persons]
    return Template((files / "report.html").read_text(encoding="utf-8")).substitute(
        policy=policy(script, style),
        title=escape(report.title),
        up=_up(report.index),
        style=style,
        script=script,
        summary=_summary(report),
        facts=_card_of(facts_table(report.facts, "This run")),
        caveats=caveats_box(report.caveats),
        photos="".join(_photo_figures(p) for p in report.photos),
        tabs=tabs_of(labels),
        persons="".join(
            _person_panel(i, label, p) for i, (label, (_, p)) in enumerate(zip(labels, persons, strict=True))
        ),
        data=_data([person for _, person in persons]),
    )


def policy(script: str, style: str) -> str:
    """Nothing may be loaded; only the page's own script and style run, pictures come from the page itself."""

    def source(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") + "'"

    return (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; img-src data:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _up(index: str | None) -> str:
    """The way back to the page of all photos."""
    return "" if index is None else f'<nav class="up"><a href="{escape(index)}">All photos</a></nav>\n'


def _summary(report: Report) -> str:
    photos, persons = len(report.photos), sum(len(p.persons) for p in report.photos)
    hypotheses = max(len(p.vertices) for photo in report.photos for p in photo.persons)
    return (
        f"{counted(photos, 'photo')}, {counted(persons, 'person', 'people')}, {counted(hypotheses, 'hypothesis')} each"
    )


def _tab_label(report: Report, photo: ReportPhoto, person: ReportPerson) -> str:
    return person.name if len(report.photos) == 1 else f"{photo.name}: {person.name}"


def tabs_of(labels: Sequence[str]) -> str:
    """The buttons that choose a person."""
    return "".join(
        f'<button type="button" role="tab" id="tab-{i}" aria-controls="person-{i}">{escape(label)}</button>'
        for i, label in enumerate(labels)
    )


def caveats_box(caveats: Sequence[str]) -> str:
    """What a reader must not overlook; empty for nothing."""
    if not caveats:
        return ""
    items = "".join(f"<li>{escape(c)}</li>" for c in caveats)
    return f'<aside class="caveats"><h2>Before you use this</h2><ul>{items}</ul></aside>'


def _photo_figures(photo: ReportPhoto) -> str:
    return (
        f'<section class="photo"><h2>{escape(photo.name)}</h2><div class="pair">'
        + figure(photo.photo, _PHOTO_SIDE, f"The photo {photo.name}", "Photo")
        + figure(photo.overlay, _PHOTO_SIDE, f"Bodies drawn over {photo.name}", "All people")
        + f"</div>{facts_table(photo.facts, '')}</section>"
    )


def _person_panel(number: int, label: str, person: ReportPerson) -> str:
    return (
        f'<section class="person" id="person-{number}" role="tabpanel" aria-labelledby="tab-{number}">'
        f"<h2>{escape(label)}</h2>"
        f'<div class="figures">{_person_figures(person)}</div>'
        f'<div class="work"><div class="viewer">{_stage(person)}{_toolbar(person)}{colorbar(_scale(person))}</div>'
        f'<div class="list" aria-label="Fused answer, then hypotheses by score">{_cards(person)}</div></div>'
        f'<div class="tables">{facts_table(person.facts, "Key facts")}{limb_table(person.limbs)}</div></section>'
    )


def _person_figures(person: ReportPerson) -> str:
    figures = []
    if person.keypoint_picture is not None:
        figures.append(figure(person.keypoint_picture, _PERSON_SIDE, "Observed keypoints", "What was observed"))
    else:
        figures.append(figure(person.photo, _PERSON_SIDE, "The person in the photo", "Photo"))
    if person.fused_overlay is not None:
        figures.append(figure(person.fused_overlay, _PERSON_SIDE, "Fused body over the photo", "Fused: the answer"))
    chosen = "the critics' choice" if person.scores is not None else "the first"
    one = f"#1: one of the group, {chosen}"
    figures.append(figure(person.best_overlay, _PERSON_SIDE, "Hypothesis #1 over the photo", one))
    return "".join(figures)


def _scale(person: ReportPerson) -> float | None:
    return None if person.spread is None else spread_scale(person.spread)


def _stage(person: ReportPerson) -> str:
    return (
        '<div class="stage">'
        f'<img class="backdrop" src="{data_uri(person.photo, 720)}" alt="">'
        '<p class="fallback">3D needs WebGL, which this browser does not offer. The pictures show the same bodies.</p>'
        '<p class="hint" aria-hidden="true">drag to turn &middot; scroll to zoom</p></div>'
    )


def _toolbar(person: ReportPerson) -> str:
    views = (("photo", "Camera view"), ("front", "Front"), ("side", "Side"), ("top", "Top"))
    buttons = "".join(
        f'<button type="button" data-view="{name}" aria-pressed="false">{text}</button>' for name, text in views
    )
    toggles = '<button type="button" data-toggle="all" aria-pressed="false">Show all</button>'
    if person.spread is not None:
        toggles = '<button type="button" data-toggle="spread" aria-pressed="false">Uncertainty</button>' + toggles
    return (
        f'<div class="toolbar"><div role="group" aria-label="View">{buttons}</div>'
        f'<div role="group" aria-label="Display">{toggles}</div></div>'
    )


def colorbar(high_metres: float | None) -> str:
    """The scale of the colours of doubt, up to `high_metres`; empty where there is none."""
    if high_metres is None:
        return ""
    high = 100 * high_metres
    return (
        f'<div class="colorbar off" role="img" aria-label="Colours from 0 to {high:g} cm of disagreement">'
        f"<span>0 cm</span><div></div><span>{high:g} cm and more</span>"
        "<p>Disagreement of the hypotheses at each point of the surface</p></div>"
    )


def spread_scale(spread: np.ndarray) -> float:
    """Upper end of the colour scale in metres: a round number near the 98th percentile, at least 2 cm."""
    typical = max(100 * float(np.quantile(spread, 0.98)), 2.0)
    steps = [2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200]
    return next((s for s in steps if s >= typical), steps[-1]) / 100


def _cards(person: ReportPerson) -> str:
    cards, ranked = [], person.ranked()
    if person.fused_vertices is not None:
        cards.append(_card(0, "Fused", "the answer", None, person.fused_thumbnails))
    for rank, index in enumerate(ranked):
        pictures = person.thumbnails[index] if person.thumbnails else ()
        score = None if person.scores is None else float(person.scores[index])
        note = f"hypothesis {index}" if score is None else f"score {score:.3f}"
        share = None if score is None else _share(score, person.scores)
        cards.append(_card(len(cards), f"#{rank + 1}", note, share, pictures))
    return "".join(cards)


def _share(score: float, scores: Any) -> float:
    """Length of a score's bar: 0 for the worst, 1 for the best."""
    low, high = float(scores.min()), float(scores.max())
    return 1.0 if high - low < 1e-12 else (score - low) / (high - low)


def _card(number: int, label: str, note: str, share: float | None, pictures: Sequence[np.ndarray]) -> str:
    images = "".join(f'<img src="{data_uri(p, _THUMBNAIL_SIDE)}" alt="">' for p in pictures)
    bar = ""
    if share is not None:
        bar = (
            '<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width="100" height="4"/>'
            f'<rect class="fill" width="{100 * share:.1f}" height="4"/></svg>'
        )
    return (
        f'<button type="button" class="card" data-body="{number}" aria-pressed="false">'
        f'<span class="thumbs">{images}</span><span class="line"><b>{escape(label)}</b><i>{escape(note)}</i></span>'
        f"{bar}</button>"
    )


def facts_table(facts: Mapping[str, str], caption: str) -> str:
    """Names with what is to be said of them; empty for none."""
    if not facts:
        return ""
    rows = "".join(f'<tr><th scope="row">{escape(str(k))}</th><td>{escape(str(v))}</td></tr>' for k, v in facts.items())
    head = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table class="facts">{head}<tbody>{rows}</tbody></table></div>'


def _card_of(content: str) -> str:
    return f"<div>{content}</div>" if content else ""


def limb_table(limbs: Sequence[LimbRow]) -> str:
    """How sure each limb is; empty for none."""
    if not limbs:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(limb.name)}</th><td>{100 * limb.spread:.1f} cm</td>'
        f"<td>{'' if limb.seen is None else f'{100 * limb.seen:.0f} %'}</td></tr>"
        for limb in limbs
    )
    return (
        '<div class="scroll"><table class="limbs"><caption>How sure is each limb</caption>'
        '<thead><tr><th scope="col">Limb</th>'
        f'<th scope="col">Disagreement</th><th scope="col">Seen</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def figure(picture: np.ndarray, side: int, alt: str, caption: str) -> str:
    """A picture with its caption."""
    return (
        f'<figure><img src="{data_uri(picture, side)}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def data_uri(picture: np.ndarray, max_side: int) -> str:
    """The picture as JPEG inside the page, shrunk so that no side exceeds `max_side` pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((max_side, max_side), SHRINKING)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _data(persons: Sequence[ReportPerson]) -> str:
    """What the viewer reads. Persons with equal faces share them."""
    return page_data((person.faces, _person_data(person)) for person in persons)


def _person_data(person: ReportPerson) -> dict[str, Any]:
    ranked = person.ranked()
    bodies, labels = person.vertices[ranked], [f"#{rank + 1}" for rank in range(len(ranked))]
    if person.fused_vertices is not None:
        bodies, labels = np.concatenate([person.fused_vertices[None], bodies]), ["Fused", *labels]
    colors = None
    if person.spread is not None:
        rgb = magnitude_colors(person.spread, spread_scale(person.spread))
        colors = base64_text(np.rint(rgb * 255).astype(np.uint8))
    K = person.K
    return {
        "name": person.name,
        "labels": labels,
        "K": [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])],
        "window": [int(border) for border in person.window],
        "spread": colors,
        **packed_vertices(bodies),
    }
