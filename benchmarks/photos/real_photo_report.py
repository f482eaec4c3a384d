"""The report of `real_photos.py` for readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hmralign.metrics.intervals import Interval, bootstrap_mean
from real_photo_sets import JOINTS

ANSWERS = (("fused", "fused"), ("best", "best of the group, by the critics"), ("detector", "the detector's own 3D"))
NAMES = {"full": "full", "heavy": "heavy"}
Value = Callable[[dict], float]


def over_instants(rows: list[dict], value: Value) -> Interval:
    """Mean over photos of an instant, then over instants, which are drawn with replacement."""
    instants = sorted({row["instant"] for row in rows})
    means = [np.mean([value(r) for r in rows if r["instant"] == t]) for t in instants]
    return bootstrap_mean(np.array(means))


def at(*keys: str) -> Value:
    """What a photo's row holds under these keys, one inside the other."""

    def value(row: dict) -> float:
        found: Any = row
        for key in keys:
            found = found[key]
        return float(np.mean(found))

    return value


def minus(first: Value, second: Value) -> Value:
    """Their difference."""
    return lambda row: first(row) - second(row)


def cell(interval: Interval, digits: int = 0) -> str:
    """Mean and interval."""
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def markdown(result: dict) -> str:
    """All tables."""
    rows = result["rows"]
    both = [r for r in rows if "full" in r and "heavy" in r]
    right = [r for r in both if not r["full"]["sides_exchanged"] and not r["heavy"]["sides_exchanged"]]
    instants, cameras = sorted({r["instant"] for r in both}), sorted({r["camera"] for r in both})
    missing = [f"{r['instant']} {r['camera']} ({n})" for r in rows for n in NAMES if n not in r]
    command = "python benchmarks/photos/real_photos.py" + ("" if result["set"] == "gym" else " --set FOLDER")
    head = [
        f"# Real photos with 3D truth: {result['set']}",
        "",
        f"{len(both)} photos: {len(instants)} instants, {len(cameras)} cameras, one person. Truth: "
        f"{result['truth']['source']}. Weights {result['checkpoint_sha256'][:12]}, {result['hypotheses']} hypotheses, "
        f"K given. Not found: {', '.join(missing) or 'nowhere'}.",
        *result["notes"],
        f"Command: `{command}{result.get('command', '')}`.",
        "",
        f"**Read with care.** Intervals (95 %) draw instants with replacement; there are {len(instants)} of one "
        "person, so they tell little of other people and scenes. The joints are what detectors call joints, and truths "
        "made from one detector or another differ by some 30 mm: differences below about 10 mm mean nothing. This set "
        "is for choices, not for claims.",
        "",
    ]
    parts = [
        _answers(both),
        _differences(both, right),
        _sides(both, right),
        _joints(both, right),
        _cameras(both, right),
    ]
    return "\n".join([*head, *parts, _calibration(both, right), _triangulated(result)])


def _answers(rows: list[dict]) -> str:
    lines = [
        "## How far off",
        "",
        "Millimetres over twelve joints about the middle of the hips; plane and depth: across and along the line of "
        "sight. All photos.",
        "",
        "| reading | answer | MPJPE | PA-MPJPE | plane | depth |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for network in NAMES:
        for key, name in ANSWERS:
            if all(key in r[network] for r in rows):
                columns = ("mpjpe", "pa_mpjpe", "plane", "depth")
                cells = [cell(over_instants(rows, at(network, key, c))) for c in columns]
                lines.append(f"| {network} | {name} | {' | '.join(cells)} |")
        oracle = cell(over_instants(rows, at(network, "min_of_group")))
        lines.append(f"| {network} | nearest of the group (an oracle) | {oracle} | | | |")
    return "\n".join([*lines, ""])


def _differences(rows: list[dict], right: list[dict]) -> str:
    lines = [
        "## Paired differences",
        "",
        f"Of MPJPE and PA-MPJPE, mm, on the same photos; below zero: the first is better. {len(right)} of {len(rows)} "
        "photos are read with the right sides by both networks.",
        "",
        "| | photos | MPJPE | PA-MPJPE |",
        "| --- | ---: | --- | --- |",
    ]
    pairs = [("fused, heavy - full", ("heavy", "fused"), ("full", "fused"))]
    pairs += [("detector's 3D, heavy - full", ("heavy", "detector"), ("full", "detector"))]
    for network in NAMES:
        pairs += [(f"{network}: fused - best", (network, "fused"), (network, "best"))]
        pairs += [(f"{network}: fused - detector's 3D", (network, "fused"), (network, "detector"))]
    for name, first, second in pairs:
        for label, chosen in (("all", rows), ("sides right", right)):
            if chosen and all(second[1] in r[second[0]] and first[1] in r[first[0]] for r in chosen):
                cells = [
                    cell(over_instants(chosen, minus(at(*first, c), at(*second, c)))) for c in ("mpjpe", "pa_mpjpe")
                ]
                lines.append(f"| {name}, {label} | {len(chosen)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _sides(rows: list[dict], right: list[dict]) -> str:
    lines = [
        "## Left and right, front and back",
        "",
        "| reading | read with sides exchanged | fused faces away | 2D error, % of height, both right |",
        "| --- | ---: | ---: | ---: |",
    ]
    for network in NAMES:
        exchanged = [r for r in rows if r[network]["sides_exchanged"]]
        away = [r for r in rows if r[network]["fused"]["faces_away"]]
        pixels = np.mean([r[network]["pixels_percent"] for r in right])
        lines.append(f"| {network} | {_listed(exchanged, len(rows))} | {_listed(away, len(rows))} | {pixels:.1f} |")
    wrong = [r["full"]["sides_exchanged"] != r["heavy"]["sides_exchanged"] for r in rows]
    told = ["body" in r["heavy"]["sides_disagree"] for r in rows]
    hits = sum(a and b for a, b in zip(wrong, told, strict=True))
    false = sum(b and not a for a, b in zip(wrong, told, strict=True))
    limbs = [r for r in rows if set(r["heavy"]["sides_disagree"]) & {"legs", "arms"}]
    return "\n".join([
        *lines,
        "",
        f"The two readings say of each other that the whole body's sides disagree in {hits} of the {sum(wrong)} photos "
        f"in which one of them alone is wrong, and in {false} of the others; legs or arms alone: "
        f"{_listed(limbs, len(rows))}.",
        "",
    ])  # fmt: skip


def _listed(rows: list[dict], total: int) -> str:
    names = ", ".join(f"{r['instant']} {r['camera']}" for r in rows)
    return f"{len(rows)} of {total}" + (f" ({names})" if names else "")


def _joints(rows: list[dict], right: list[dict]) -> str:
    parts = [name.removeprefix("left_") for name in JOINTS if name.startswith("left_")]
    lines = [
        "## By joint",
        "",
        "Fused, mm, left and right together; hips lie beside the root by definition.",
        "",
        "| reading | photos | " + " | ".join(parts) + " |",
        "| --- | --- |" + " ---: |" * len(parts),
    ]
    for network in NAMES:
        for label, chosen in (("all", rows), ("sides right", right)):
            means = np.mean([r[network]["fused"]["joints"] for r in chosen], axis=0)
            cells = [means[[i for i, n in enumerate(JOINTS) if n.endswith(part)]].mean() for part in parts]
            lines.append(f"| {network} | {label} | " + " | ".join(f"{c:.0f}" for c in cells) + " |")
    return "\n".join([*lines, ""])


def _cameras(rows: list[dict], right: list[dict]) -> str:
    lines = [
        "## By camera, and the lean",
        "",
        "Lean: degrees by which the whole body is turned away from the camera about its x axis, too far (below zero: "
        "towards it); photos with the right sides. Height: degrees above the horizon of the person.",
        "",
        "| camera | height | photos | MPJPE full | MPJPE heavy | sides right: MPJPE heavy | lean full | lean heavy | "
        "lean of the detector's 3D, heavy |",
        "| --- | ---: | ---: | --- | --- | --- | --- | --- | --- |",
    ]
    heights = {r["camera"]: [] for r in rows}
    for r in rows:
        if r["elevation"] is not None:
            heights[r["camera"]].append(r["elevation"])
    for camera in sorted(heights, key=lambda c: (np.mean(heights[c]) if heights[c] else 0.0, c)):
        mine, good = ([r for r in chosen if r["camera"] == camera] for chosen in (rows, right))
        high = f"{np.mean(heights[camera]):.0f}" if heights[camera] else "unknown"
        lines.append(f"| {camera} | {high} | {len(mine)} | {_camera_cells(mine, good)} |")
    lines.append(f"| all | | {len(rows)} | {_camera_cells(rows, right)} |")
    return "\n".join([*lines, ""])


def _camera_cells(rows: list[dict], right: list[dict]) -> str:
    cells = [cell(over_instants(rows, at(n, "fused", "mpjpe"))) for n in NAMES]
    if not right:
        return " | ".join([*cells, "", "", "", ""])
    cells.append(cell(over_instants(right, at("heavy", "fused", "mpjpe"))))
    cells += [cell(over_instants(right, at(n, "fused", "lean")), 1) for n in NAMES]
    cells.append(cell(over_instants(right, at("heavy", "detector", "lean")), 1))
    return " | ".join(cells)


def _calibration(rows: list[dict], right: list[dict]) -> str:
    lines = [
        "## Does the group know how wrong it is",
        "",
        "Share of joints (hips left out) inside the regions stated about the fused answer, which should hold 50 and "
        "90 %, and root mean squares of stated and actual error, mm. `recalibrated` is what `expected_error` says.",
        "",
        "| reading | regions | photos | 50 % | 90 % | stated | actual |",
        "| --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for network in NAMES:
        for kind in rows[0][network]["calibration"]:
            for label, chosen in (("all", rows), ("sides right", right)):
                inside = [
                    cell(over_instants(chosen, at(network, "calibration", kind, p)).scaled(100.0))
                    for p in ("50%", "90%")
                ]
                size = [
                    np.sqrt(np.mean([r[network]["calibration"][kind][k] ** 2 for r in chosen]))
                    for k in ("expected_mm", "actual_mm")
                ]
                sizes = " | ".join(f"{s:.0f}" for s in size)
                lines.append(f"| {network} | {kind} | {label} | {' | '.join(inside)} | {sizes} |")
    return "\n".join([*lines, ""])


def _triangulated(result: dict) -> str:
    lines = [
        "## Triangulation of the detector's own keypoints",
        "",
        "The joints of each instant from one network's keypoints in all photos that show the person "
        "(`geometry/triangulation.py`), against the truth. Residuals are pixels between a photo's keypoint and the "
        "joint made without that photo: median / 90 % / largest.",
        "",
        "| reading | joints | left out (few views agree) | agreeing views | distance mm | PA-MPJPE mm | residuals px |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for network, made in result["triangulated"].items():
        residuals = " / ".join(map(str, made["leave_view_out_px"]))
        numbers = [made[k] for k in ("joints", "left_out", "views_mean", "distance_mm", "pa_mpjpe_mm")]
        lines.append(f"| {network} | {' | '.join(map(str, numbers))} | {residuals} |")
    truth = result["truth"]
    if "leave_view_out_px" in truth:
        residuals = " / ".join(map(str, truth["leave_view_out_px"]))
        lines += ["", f"The truth itself: residuals {residuals} px, {truth['joints_left_out']} joints left out, and "
                  f"instants without all joints: {', '.join(truth['instants_left_out']) or 'none'}."]  # fmt: skip
    return "\n".join([*lines, ""])
