"""Curves of an alignment run as one picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from hmralign.storage.json_file import read_json_lines
from hmralign.storage.whole_file import write_whole

PANELS = (
    ("loss of the averaged weights, over the reference's", ("loss_ratio",)),
    ("policy - reference, better and worse members", ("probe_gap_better", "probe_gap_worse")),
    ("held-out persons: score of the held-out critic", ("held_out",)),
    ("held-out persons: reprojection score", ("reprojection",)),
    ("held-out persons: spread of hypotheses (m)", ("spread",)),
    ("gradient norm", ("gradient_norm",)),
)


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Rows of a `curve.jsonl`. Raises InputError for lines that are none."""
    return [line.value for line in read_json_lines(path, "row of a curve", nan=True)]


def draw_curves(curve: Path, path: Path, title: str) -> None:
    """Panels of what is in the curve."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_curve(curve)
    panels = [(name, keys) for name, keys in PANELS if any(k in row for row in rows for k in keys)]
    figure = Figure(figsize=(11, 2.6 * ((len(panels) + 1) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for number, (name, keys) in enumerate(panels):
        axes = figure.add_subplot((len(panels) + 1) // 2, 2, number + 1)
        for key in keys:
            points = [(row["step"], row[key]) for row in rows if key in row and not isinstance(row[key], str)]
            if key.endswith("worse") and not any(value for _, value in points):
                continue  # a method without worse members
            label = "better" if key.endswith("better") else "worse" if key.endswith("worse") else None
            axes.plot(*zip(*points, strict=True), marker=".", linewidth=1.5, label=label)
        if len(axes.lines) > 1:
            axes.legend(frameon=False, fontsize=8)
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_whole(path, content.getvalue())
