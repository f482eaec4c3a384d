"""The tables of `sides.py` from its figures."""

from __future__ import annotations

import numpy as np

from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.reports.markdown_table import markdown_table as table

COLUMNS = ("fused", "nearest of 20", "expected error", "actual error", "spread")


def markdown(figures: dict) -> str:
    """The whole page."""
    parts = [
        "# Left and right, front and back: the gate, and second modes",
        f"Gate {figures['gate_sha256'][:12]}, `lite` {figures['lite_sha256'][:12]}. Command: "
        "`python benchmarks/photos/sides.py --synthwild FOLDER --poses FILE`.",
        "Everything was chosen on these very sets (validation): the figures are no claims about others. "
        "What they say: [sides_reading.md](sides_reading.md).",
        "## Does the gate tell exchanged sides?",
        _gate(figures),
        "## Is it calibrated?",
        _reliability(figures),
        "## What second modes give and cost, on persons with known truth",
        _answers(figures),
    ]
    if "photos" in figures:
        parts += ["## On the gym photos", _photos(figures)]
    return "\n\n".join(parts) + "\n"


def _all_gates(figures: dict) -> dict[str, dict]:
    sets = dict(figures["gate"])
    for network, found in figures.get("real", {}).items():
        sets |= {f"gym photos, {network}": found["gym"], f"other photos, {network}": found["others"]}
    return sets


def _gate(figures: dict) -> str:
    words = (
        "The same keypoints as they are and with sides exchanged by hand; AUC at even odds. With the detector's rate "
        "of exchanges as prior: false alarms are persons with right sides who get a second mode, noticed the exchanged "
        "ones who do, turned those whose answer follows the other reading. On photos without truth sides are taken to "
        "be right as read."
    )
    rows = [
        [name, str(g["persons"]), f"{g['auc']:.3f}", f"{g['log_loss']:.3f}", f"{100 * g['prior']:.1f} %"]
        + [f"{100 * g[k]:.1f} %" for k in ("false_alarms", "noticed", "turned_wrongly", "turned_rightly")]
        for name, g in _all_gates(figures).items()
    ]
    head = ["keypoints", "persons", "AUC", "log loss", "prior", "false alarms", "noticed", "turned wrongly", "rightly"]
    limits = list(next(iter(figures["gate"].values()))["trade_off"])
    trade = [
        [name] + [f"{100 * g['trade_off'][limit][0]:.1f} / {100 * g['trade_off'][limit][1]:.1f}" for limit in limits]
        for name, g in _all_gates(figures).items()
    ]
    lines = [
        words,
        table(head, rows),
        "False alarms / noticed, %, by the probability from which there is a second mode:",
    ]
    lines.append(table(["keypoints", *limits], trade))
    flips = [
        f"{network}: {instant} {camera} (log odds {logit:+.2f})"
        for network, found in figures.get("real", {}).items()
        for instant, camera, logit in found["flips"]
    ]
    return "\n\n".join([*lines, "Really read with sides exchanged: " + (", ".join(flips) or "none") + "."])


def _reliability(figures: dict) -> str:
    words = "At even odds, over persons as they are and exchanged: what was said, how often it was so, and how many."
    blocks = []
    for name, g in _all_gates(figures).items():
        rows = [[f"{a:g}-{b:g}", f"{said:.3f}", f"{true:.3f}", str(n)] for a, b, n, said, true in g["reliability"]]
        blocks.append(f"{name}: mean gap {100 * g['calibration_error']:.1f} points")
        blocks.append(table(["said", "mean", "exchanged", "n"], rows))
    return "\n\n".join([words, *blocks])


def _interval(values: np.ndarray) -> str:
    found = bootstrap_mean(values)
    return f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f})"


def _answers(figures: dict) -> str:
    parts = [
        "Millimetres, means with 95 % intervals over persons. Errors: RMS over joints of the answer, as expected and "
        "as they are. `never` and `always` are the controls."
    ]
    for world, cases in figures["answers"].items():
        for case, policies in cases.items():
            parts.append(f"**SynthWild {world}, sides {'right' if case == 'right' else 'exchanged by hand'}**")
            rows = []
            for name, values in policies.items():
                v = np.array(values, float)
                rows.append(
                    [name, *(_interval(v[:, k]) for k in range(5)), *(f"{100 * v[:, k].mean():.1f} %" for k in (5, 6))]
                )
            parts.append(table(["sides", *COLUMNS, "two modes", "turned"], rows))
            never, both = (np.array(policies[n], float) for n in ("as read (never)", "both"))
            parts.append(_aims(never, both))
    return "\n\n".join(parts)


def _aims(never: np.ndarray, both: np.ndarray) -> str:
    """What the aims of the issue speak of: over all persons, and over those who have two modes."""
    moved = paired_difference(both[:, 0], never[:, 0])
    two = both[:, 5] > 0
    words = [f"Fused changes by {moved.mean:+.1f} mm ({moved.low:+.1f} to {moved.high:+.1f})"]
    for name, mask in (("all", np.ones(len(both), bool)), ("those with two modes", two)):
        if mask.any():
            fall = 100 * (1 - both[mask, 1].mean() / never[mask, 1].mean())
            rise = both[mask, 2].mean() / never[mask, 2].mean()
            words.append(
                f"{name} ({int(mask.sum())}): nearest of 20 falls by {fall:.0f} %, expected error x {rise:.2f}"
            )
    return "; ".join(words) + "."


def _photos(figures: dict) -> str:
    rows = []
    for row in figures["photos"]:
        never, both = row["as read (never)"], row["both"]
        if row["exchanged"] or row["disagree"] or both[5]:
            chance = "" if both[7] is None else f"{100 * both[7]:.0f} %"
            pairs = [f"{never[k]:.0f} / {both[k]:.0f}" for k in (0, 1, 2, 4)]
            said = "yes" if row["exchanged"] else "no"
            rows.append([row["network"], row["photo"], said, ", ".join(row["disagree"]), chance, *pairs])
    head = [
        "read by",
        "photo",
        "exchanged",
        "networks disagree",
        "chance",
        "fused",
        "nearest of 20",
        "expected",
        "spread",
    ]
    parts = [
        "Photos that are read wrongly, doubted or have two modes; each figure as read / with both readings, mm. Fused "
        "and the nearest of 20: MPJPE of twelve joints; expected: RMS over the body's joints.",
        table(head, rows),
    ]
    for network in ("full", "heavy"):
        mine = [r for r in figures["photos"] if r["network"] == network]
        for words, chosen in (
            ("sides right", [r for r in mine if not r["exchanged"]]),
            ("sides exchanged", [r for r in mine if r["exchanged"]]),
        ):
            if chosen:
                never, both = (np.array([r[n][:7] for r in chosen], float) for n in ("as read (never)", "both"))
                parts.append(f"{network}, {words}, {len(chosen)} photos: {_aims(never, both)}")
    return "\n\n".join(parts)
