"""The part of the comparison's document that its tables show: small enough to be kept beside them.

The whole document, with every column's difference and every trial's temperatures, stays in the work folder; the report
writes it anew from there.
"""

from __future__ import annotations

import json
from typing import Any

from hmralign.studies.alignment.report import ANSWERS, DETAILS, TITLES

CHANGED = ("fused", "min_of_10")
"""Answers whose difference to the base stands in the tables."""
TRIAL = ("rate", "steps", "skipped", "stopped", *CHANGED)


def shown(document: dict[str, Any]) -> dict[str, Any]:
    """A document from which `study_markdown` makes the same text, without figures and intervals that it leaves out."""
    return document | {
        "rows": {name: _row(row) for name, row in document["rows"].items()},
        "tuning": {name: [_only(t, TRIAL) for t in trials] for name, trials in document["tuning"].items()},
        "sweeps": {key: _sweep(table) if key != "not_run" else table for key, table in document["sweeps"].items()},
    }


def shown_text(document: dict[str, Any]) -> str:
    """What is shown as JSON, one line for each row of a table. Raises ValueError for a number that is not finite."""
    parts = [f"{json.dumps(key)}: {_lines(value)}" for key, value in shown(document).items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return json.dumps(value, allow_nan=False)
    return "{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in value.items()) + "\n}"


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return row | {kind: _figures(row[kind]) for kind in TITLES if kind in row}


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    means = {name: values[:1] for name, values in _only(found["mm"], (*ANSWERS, *DETAILS)).items()}
    changes = {key: _only(found[key], CHANGED) for key in ("minus_base_mm", "sd_over_runs_mm")}
    return found | {"mm": means} | changes


def _sweep(table: dict[str, Any]) -> dict[str, Any]:
    return {row: {number: _cell(cell) for number, cell in cells.items()} for row, cells in table.items()}


def _cell(cell: dict[str, Any] | str) -> dict[str, Any] | str:
    return cell if isinstance(cell, str) else {kind: _only(cell[kind], ("fused",)) for kind in TITLES}


def _only(found: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: found[key] for key in keys if key in found}
