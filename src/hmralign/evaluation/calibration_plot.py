"""The reliability diagram: predicted spread against actual error, the diagonal being honest."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from hmralign.metrics.uncertainty import Reliability
from hmralign.storage.whole_file import write_whole


def draw_calibration(seen: dict[str, dict[str, Reliability]], path: Path) -> None:
    """One panel per predictor, one line per kind of calibration; nothing is drawn where there is no calibration."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = {name: kinds for name, kinds in seen.items() if kinds}
    if not panels:
        return
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 4.4), squeeze=False)
    for axis, (name, kinds) in zip(axes[0], panels.items(), strict=True):
        top = 0.0
        for (kind, r), marker in zip(kinds.items(), "os^", strict=False):
            label = f"{kind}: 50/90 % regions hold {r.coverage[0.5]:.0%}/{r.coverage[0.9]:.0%}"
            axis.plot(1000 * r.predicted, 1000 * r.actual, marker=marker, label=label)
            top = max(top, 1000 * float(r.predicted.max()), 1000 * float(r.actual.max()))
        axis.plot([0, top], [0, top], color="grey", linewidth=1, linestyle="--", label="honest")
        axis.set(title=name, xlabel="predicted spread of a joint, RMS mm", ylabel="actual error, RMS mm")
        axis.set_aspect("equal")
        axis.legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    plt.close(figure)
    write_whole(path, content.getvalue())
