"""Tables of an evaluation as Markdown: means with 95 % intervals in mm, the protocol first."""

from __future__ import annotations

from typing import Any

from hmralign.evaluation.protocol import NOT_SAID, may_have_seen
from hmralign.reports.markdown_table import markdown_table
from hmralign.structures.counted import counted

ANSWERS = ("single", "zero_noise", "selected", "fused", "min_of_10", "min_of_100", "min_of_200")
_LABEL = {
    "zero_noise": "zero noise",
    "min_of_10": "min of 10 (oracle)",
    "min_of_100": "min of 100 (oracle)",
    "min_of_200": "min of 200 (oracle)",
}


def cell(values: list[float] | None) -> str:
    """`mean (low to high)`, or nothing."""
    return "" if values is None else f"{values[0]} ({values[1]} to {values[2]})"


def evaluation_markdown(document: dict[str, Any]) -> str:
    """The document of `compare_checkpoints` as Markdown."""
    predictors = document["predictors"]
    protocol = next(iter(predictors.values()))["protocol"]
    parts = [_heading(protocol, predictors), _answers(predictors), _details(predictors), _slices(predictors)]
    parts.append(_calibration(predictors))
    parts += [_differences(key, rows) for key, rows in document.items() if key.startswith("differences") and rows]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(protocol: dict[str, Any], predictors: dict[str, Any]) -> str:
    settings = "; ".join(f"{name}: {_settings(r['protocol'])}" for name, r in predictors.items())
    cost = next(iter(predictors.values()))["failure_counts_as_mm"]
    failures = ", ".join(f"{name}: {r['failures']}" for name, r in predictors.items())
    return "\n".join(
        [
            f"# {protocol['benchmark']} {protocol['split']}: {counted(protocol['persons'], 'person')}",
            "",
            f"{settings}. Seed {protocol['seed']}. Joints: {protocol['joints']}; alignment: {protocol['alignment']}. "
            f"Persons: {protocol['agreement']} ({protocol['split_sha256'][:12]}), mesh {protocol['mesh_hash'][:12]}.",
            "",
            "Millimetres on the free body, not comparable with published figures; 95 % bootstrap intervals over "
            "persons. Columns marked oracle need the truth and never stand alone.",
            "",
            *_seen_perhaps(predictors),
            f"Failed persons (each counts as {cost:.0f} mm): {failures}.",
        ]
    )


def _seen_perhaps(predictors: dict[str, Any]) -> list[str]:
    """A paragraph about predictors of which nobody knows whether they were trained on a test split's persons."""
    protocols = {name: r["protocol"] for name, r in predictors.items()}
    silent = [name for name, p in protocols.items() if may_have_seen(p["trained_on"], p["split"])]
    if not silent:
        return []
    names = ", ".join(silent)
    return [f"Trained on: {NOT_SAID} of {names}. Those figures may be of persons that were seen in training.", ""]


def _settings(protocol: dict[str, Any]) -> str:
    refinement = protocol["refinement"].get("method", "none")
    steps = f", {counted(protocol['sampler_steps'], 'sampling step')}" if protocol["sampler_steps"] else ""
    return f"M = {protocol['num_hypotheses']}{steps}, refinement {refinement}"


def _answers(predictors: dict[str, Any]) -> str:
    present = [a for a in ANSWERS if any(f"{a}_mm" in r["all"] for r in predictors.values())]
    blocks = []
    for title, suffix in (("MPJPE", ""), ("PA-MPJPE", "_pa")):
        rows = [[n, *(cell(r["all"].get(f"{a}{suffix}_mm")) for a in present)] for n, r in predictors.items()]
        blocks.append(f"## {title}\n\n" + markdown_table(["", *(_LABEL.get(a, a) for a in present)], rows))
    return "\n\n".join(blocks)


def _details(predictors: dict[str, Any]) -> str:
    columns = {
        "fused_plane": "fused, image plane",
        "fused_depth": "fused, depth",
        "fused_pve": "fused PVE",
        "fused_pa_pve": "fused PA-PVE",
        "selected_pve": "selected PVE",
        "spread": "spread",
    }
    rows = [[n, *(cell(r["all"].get(f"{c}_mm")) for c in columns)] for n, r in predictors.items()]
    return "## Parts of the error, mesh, spread\n\n" + markdown_table(["", *columns.values()], rows)


def _slices(predictors: dict[str, Any]) -> str:
    names = next(iter(predictors.values()))["slices"]
    if not names:
        return ""
    rows = [
        [f"{name} ({entry['persons']})"]
        + [cell(r["slices"][name].get(f"{c}_mm")) for r in predictors.values() for c in ("selected", "fused", "spread")]
        for name, entry in names.items()
    ]
    header = ["slice (persons)", *(f"{n} {c}" for n in predictors for c in ("selected", "fused", "spread"))]
    return "## Slices, MPJPE\n\n" + markdown_table(header, rows)


def _calibration(predictors: dict[str, Any]) -> str:
    rows = [
        [f"{name}, {kind}", str(c["expected_calibration_error_mm"]), *(f"{v:.3f}" for v in c["coverage"].values())]
        for name, r in predictors.items()
        for kind, c in r["calibration"].items()
    ]
    if not rows:
        return ""
    header = ["spread about the fused body", "expected calibration error", "truth inside the 50 % region", "90 %"]
    return "## Calibration of the spread\n\n" + markdown_table(header, rows)


def _differences(title: str, rows: dict[str, Any]) -> str:
    columns = list(next(iter(rows.values())))
    grid = markdown_table(
        ["", *(c.removesuffix("_mm") for c in columns)], [[n, *(cell(r[c]) for c in columns)] for n, r in rows.items()]
    )
    return f"## Paired {title}\n\n{grid}"
