"""One figure of an audit: how well each critic orders groups, and which planted mistakes it sees."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from hmralign.structures.counted import counted


def audit_figure(document: dict[str, Any]) -> bytes:
    """PNG: rank correlations with intervals; beside them, where there are any, rates on planted mistakes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    critics = document["critics"]
    planted = _rates(document)
    height = max(3.2, 0.42 * len(critics) + 1.6, 0.0 if planted is None else 0.42 * len(planted[0]) + 2.2)
    columns = 1 if planted is None else 2
    width = 6.4 if planted is None else 7.4 + 0.85 * len(planted[1])
    figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False, layout="constrained")
    _draw_order(axes[0][0], document)
    if planted is not None:
        _draw_rates(figure, axes[0][1], *planted)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()


def _draw_order(axis: Any, document: dict[str, Any]) -> None:
    rows = sorted(document["critics"].items(), key=lambda item: item[1]["per_group"]["srcc"][0])
    mean, low, high = np.array([row["per_group"]["srcc"] for _, row in rows]).T
    colors = ["tab:orange" if name == document["reference"] else "tab:blue" for name, _ in rows]
    for place, color in enumerate(colors):
        bounds = [[mean[place] - low[place]], [high[place] - mean[place]]]
        axis.errorbar(mean[place], place, xerr=bounds, fmt="o", color=color, capsize=3)
        text = f"{mean[place]:.2f}".replace("-0.00", "0.00")
        place_of_text = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        axis.annotate(text, (mean[place], place), **place_of_text)
    axis.axvline(0, color="grey", linewidth=1, linestyle="--")
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.set_ylim(-0.6, len(rows) - 0.3)
    axis.set_xlim(min(-0.1, float(low.min()) - 0.05), 1.06)
    source = document["store"]["source"]
    axis.set_title(f"{counted(document['groups'], 'group')} of {document['group_size']}, {source}", fontsize=10)
    axis.set_xlabel("SRCC with minus the error, mean over groups, 95 %")
    axis.grid(axis="x", alpha=0.3)


def _rates(document: dict[str, Any]) -> tuple[list[str], list[str], np.ndarray] | None:
    """Mistakes, critics, and rates in percent (NaN where nobody counts); None where nothing was planted."""
    rows = document.get("planted", {}).get("mistakes", {})
    critics = list(next((row["critics"] for row in rows.values() if "critics" in row), {}))
    if not critics:
        return None
    rates = [[row["critics"][c]["rate"][0] if "critics" in row else np.nan for c in critics] for row in rows.values()]
    return list(rows), critics, 100 * np.array(rates)


def _draw_rates(figure: Any, axis: Any, mistakes: list[str], critics: list[str], rates: np.ndarray) -> None:
    picture = axis.imshow(rates, vmin=0, vmax=100, cmap="RdBu", aspect="auto")
    for row, column in np.argwhere(np.isfinite(rates)):
        value = rates[row, column]
        color = "white" if abs(value - 50) > 32 else "black"
        axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=9)
    axis.set_xticks(range(len(critics)), critics, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(mistakes)), mistakes)
    axis.set_title("planted mistakes: the truth is preferred, % (50 is chance)", fontsize=10)
    figure.colorbar(picture, ax=axis, fraction=0.05)
