"""The HTML report of a multi-view fine-tuning: curves of the reward and of the judge, and views before and after.

One file without a script; like every report it forbids itself all connections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from hmralign.reports.line_chart import Curve, line_chart
from hmralign.reports.person_report import caveats_box, facts_table, figure, policy
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError

_STRIP_SIDE = 640


@dataclass(frozen=True)
class StripsOfPerson:
    """Pictures of one person, each with its caption."""

    name: str
    strips: Sequence[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Chart:
    """Curves that share a chart."""

    title: str
    across: str
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class MultiViewReport:
    """What the page says."""

    title: str
    summary: str
    persons: Sequence[StripsOfPerson]
    charts: Sequence[Chart] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    caveats: Sequence[str] = ()


def write_multiview_report(path: Path, report: MultiViewReport) -> Path:
    """Write the page, whole or not at all. Raises InputError where there is no person."""
    return write_whole(path, render_multiview_report(report))


def render_multiview_report(report: MultiViewReport) -> str:
    """The page as text."""
    if not report.persons:
        raise InputError("there is no person to report on; expected at least one")
    style = (resources.files("hmralign.reports") / "viewer" / "report.css").read_text(encoding="utf-8")
    charts = "".join(line_chart(chart.curves, chart.title, chart.across) for chart in report.charts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy("", style)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{style}</style></head><body><main>"
        f"<header><h1>{escape(report.title)}</h1><p>{escape(report.summary)}</p></header>"
        f"{facts_table(report.facts, 'This run')}{caveats_box(report.caveats)}{charts}"
        f"{''.join(map(_section, report.persons))}</main></body></html>\n"
    )


def _section(person: StripsOfPerson) -> str:
    figures = "".join(
        figure(picture, _STRIP_SIDE, f"{person.name}: {words}", words) for words, picture in person.strips
    )
    return f'<section class="photo"><h2>{escape(person.name)}</h2>{figures}</section>'
