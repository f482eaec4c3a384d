"""Tables of `direct_reward.py`, as Markdown."""

from typing import Any

from hmralign.reports.markdown_table import markdown_table


def text_of(document: dict[str, Any], reading: str | None) -> str:
    """The report as Markdown, beginning with what it means where that is given."""
    parts = ["# Direct reward fine-tuning of the multi-view base", ""]
    parts += [reading.strip(), ""] if reading else []
    parts += ["## Setting", "", markdown_table(["what", "value"], list(document["setting"].items()), words=2), ""]
    parts += [
        "## Networks that read views",
        "",
        "On held-out persons, true views. The judge's error here is the reference of every figure below.",
        "",
        markdown_table(["figure", "value"], [[k, f"{v:.4g}"] for k, v in document["readers"].items()]),
        "",
        "## Gate (iii): what the base has to beat",
        "",
        gate_table(document["gates"]),
        "",
        "## Before and after",
        "",
        "MPJPE of the judge in mm with 95 % intervals over persons; change of the mean against supervised continuation",
        "on base data at equal CPU (paired, negative is better), guarded against guarded. `guarded`: the look that the",
        "judge keeps on held-out persons. Own mean: views averaged over 8 samples of the base, no training.",
        "",
    ]
    for kind, count in document["persons"].items():
        if count == 0 or not any(kind in row for row in document["rows"]):
            continue
        true = document["true_views_mm"].get(kind)
        parts += [f"### {kind} poses ({count} persons; the judge on true views: {true:.1f} mm)", ""]
        parts += [arm_table(document["rows"], kind), ""]
        if any(row[kind]["second"] for row in document["rows"] if kind in row):
            parts += ["By the second judge, which stopped nothing and chose nothing:", ""]
            parts += [second_judge_table(document["rows"], kind), ""]
    parts += ["## The guard", "", guard_table(document["guard"]), ""]
    if document["rates"]:
        parts += ["## Learning rates", "", "Tried on held-out persons, one seed; the arms above have the best.", ""]
        parts += [rate_table(document["rates"]), ""]
    if document["variants"]:
        parts += ["## Variants of the gradient", "", variant_table(document["variants"]), ""]
    return "\n".join(parts)


def change_cells(change: list[float] | None) -> tuple[str, str]:
    """A change of the mean in percent, and its interval."""
    if change is None:
        return "-", "-"
    return f"{100 * change[0]:+.1f} %", f"{100 * change[1]:+.1f} to {100 * change[2]:+.1f}"


def arm_table(rows: list[dict[str, Any]], kind: str) -> str:
    header = [
        "arm",
        "weights",
        "seeds",
        "mm",
        "95 %",
        "against control",
        "95 %",
        "against own mean",
        "95 %",
        "PA mm",
        "PSNR",
        "SSIM",
        "IoU",
        "haze",
        "score",
    ]
    lines = []
    for row in rows:
        if kind not in row:
            continue
        f = row[kind]
        value, changes = f["mpjpe_mm"], (f["against_control"], f["against_mean"])
        lines.append(
            [
                row["says"],
                row["part"],
                str(row["seeds"]),
                f"{value[0]:.1f}",
                f"{value[1]:.1f} to {value[2]:.1f}",
                *(cell for change in changes for cell in change_cells(change)),
                f"{f['pa_mpjpe_mm']:.1f}",
                f"{f['psnr']:.2f}",
                f"{f['ssim']:.3f}",
                f"{f['soft_iou']:.3f}",
                "-" if f["haze"] is None else f"{f['haze']:.2f}",
                f"{f['pose_score']:.4f}",
            ]
        )
    return markdown_table(header, lines, words=2)


def second_judge_table(rows: list[dict[str, Any]], kind: str) -> str:
    """Errors by the second judge, and their changes against control, start and own mean; PA against control."""
    header = ["arm", "weights", "seeds", "mm", "95 %"]
    for against in ("control", "before", "own mean", "control, PA"):
        header += [f"against {against}", "95 %"]
    lines = []
    for row in rows:
        found = row[kind]["second"] if kind in row else None
        if found is None:
            continue
        value = found["mpjpe_mm"]
        changes = ("against_control", "against_before", "against_mean", "pa_against_control")
        cells = [cell for name in changes for cell in change_cells(found[name])]
        middle = [f"{value[0]:.1f}", f"{value[1]:.1f} to {value[2]:.1f}"]
        lines.append([row["says"], row["part"], str(row["seeds"]), *middle, *cells])
    return markdown_table(header, lines, words=2)


def gate_table(rows: list[dict[str, Any]]) -> str:
    kinds = [kind for kind in ("ordinary", "hard", "all") if kind in rows[0]]
    cells = [[r["control"], *(f"{r[k][0]:.1f} ({r[k][1]:.1f} to {r[k][2]:.1f})" for k in kinds)] for r in rows]
    return markdown_table(["views of", *(f"{kind}, mm (95 %)" for kind in kinds)], cells)


def guard_table(rows: list[dict[str, Any]]) -> str:
    header = ["run", "start mm", "best mm", "kept mm", "end mm", "kept at step", "steps", "score start", "score end",
              "passes its optimum"]  # fmt: skip
    return markdown_table(
        header,
        [
            [r["run"], *(f"{r[k]:.1f}" for k in ("start_mm", "best_mm", "kept_mm", "end_mm")), str(r["kept_step"]),
             str(r["steps"]), f"{r['score_start']:.4f}", f"{r['score_end']:.4f}",
             "yes" if r["passes_its_optimum"] else "no"]
            for r in rows
        ],
    )  # fmt: skip


def rate_table(rows: list[dict[str, Any]]) -> str:
    cells = [
        [r["says"], f"{r['rate']:g}", str(r["steps"]), f"{1000 * r['mpjpe']:.1f}", f"{r['pose_score']:.4f}"]
        for r in rows
    ]
    return markdown_table(["arm", "rate", "steps", "held-out mm", "score"], cells)


def variant_table(rows: list[dict[str, Any]]) -> str:
    header = ["variant", "saved tensors MB", "share of full", "CPU s", "cosine with the full gradient"]
    return markdown_table(
        header,
        [
            [
                r["variant"],
                f"{r['megabytes']:.1f}",
                f"{100 * r['share']:.0f} %",
                f"{r['seconds']:.2f}",
                f"{r['cosine']:.2f}",
            ]
            for r in rows
        ],
    )
