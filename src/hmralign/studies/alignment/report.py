"""The document of the comparison as Markdown; its reading in plain words is a file of its own and is put at the top."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hmralign.reports.markdown_table import markdown_table
from hmralign.structures.counted import counted
from hmralign.studies.alignment.figures import NOT_RUN
from hmralign.studies.alignment.rows import BASE, LOW_RATES, RATES

READING = "<!-- reading -->"
"""Marks the beginning and the end of the reading."""

ANSWERS = {
    "single": "single", "zero_noise": "zero noise", "selected": "selected", "selected_scorer": "selected, scorer",
    "fused": "fused", "weighted": "weighted", "min_of_10": "min 10", "min_of_100": "min 100",
}  # fmt: skip
DETAILS = {
    "fused_pa": "PA fused", "fused_pve": "PVE fused", "fused_plane": "plane", "fused_depth": "depth",
    "fused_visible": "visible joints", "fused_hidden": "hidden joints", "spread": "spread",
}  # fmt: skip
COMPARED = {"single": "single", "fused": "fused", "min_of_10": "min 10"}
TITLES = {"raw": "Samples as they are", "refined": "With test-time refinement"}
ORDER = ("control", "ceiling", "objective", "critic", "ours")


def study_markdown(document: dict[str, Any], reading: str | None) -> str:
    """Everything, in the order in which it is asked for."""
    parts = ["# Alignment methods compared", f"{READING}\n{(reading or 'No reading yet.').strip()}\n{READING}"]
    parts.append(_heading(document))
    rows = _ordered(document["rows"])
    for kind, title in TITLES.items():
        parts += [f"## {title}", answers_table(rows, kind), details_table(rows, kind)]
    parts += ["## Against best-of-N of the same critic, paired", pairs_table(document["paired"])]
    parts += ["## Trials", trials_table(document["tuning"], document["rows"])]
    parts += ["## Group size and number of persons", *_sweeps(document["sweeps"])]
    parts += ["## Replication with new seeds", _replication(document["replication"])]
    parts += ["## Runs that their guard stopped", stopped_table(document)]
    parts += ["## Not run", _grid(["row", "why"], [[k, v] for k, v in document["not_run"].items()])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ordered(rows: dict[str, Any]) -> dict[str, Any]:
    names = sorted(rows, key=lambda n: (n not in (BASE, f"{BASE}, first one"), ORDER.index(rows[n]["group"])))
    return {name: rows[name] for name in names}


def _heading(document: dict[str, Any]) -> str:
    s, spent = document["settings"], document["cpu_seconds"]
    bases = ", ".join(f"{name} ({sha[:8]})" for name, sha in s["bases"].items()) or "none"
    rates, low = (", ".join(f"{r:g}" for r in some) for some in (RATES, LOW_RATES))
    scorer = f"{s['scorer']} ({s['scorer_sha256'][:8]})" if s["scorer"] else "none in this version"
    commands = "\n".join(f"    {c}" for c in document["commands"])
    return "\n\n".join(
        [
            f"{counted(s['persons'], 'group')} of {s['group_size']} from {s['train_split']} for each base, "
            f"{counted(s['steps'], 'step')} of "
            f"{counted(s['batch_size'], 'hypothesis')}. Bases: {bases}. Scorer: {scorer}. Every row has three "
            "trials, learning "
            f"rates {rates} (DPO, KTO, GPA literal and direct reward: {low}; the ceiling also 3e-3, and three times as "
            f"many steps), on the first base with seed {s['seeds'][0]}; the lowest `fused` without refinement on the "
            f"first {counted(s['val_persons'], 'person')} of {s['val_split']} decides.",
            f"Measured on the first {counted(s['final_persons'], 'person')} of {s['final_split']}, M = "
            f"{s['hypotheses']} "
            f"({counted(s['many_persons'], 'person')} and M = {s['many']} for min 100, first base and seed), "
            f"{s['benchmark']}, {s['joints']}. Millimetres; differences are paired over persons, with 95 % bootstrap "
            "intervals over persons. A row has as many runs (base and fine-tuning seed) as stand beside it; they are "
            "averaged person by person, and `sd` is the standard deviation of the runs' differences to their own "
            "bases. Where rows differ in runs, their absolute figures are of other bases: compare differences. "
            "`min` is an oracle.",
            "`selected` is picked by reprojection, `weighted` is the mean weighted by the scorer's scores at the "
            "temperature that validation persons chose. A joint is hidden when the keypoint nearest to it was not "
            "observed. Headroom is the share of the gain of SFT on true labels of the same persons; it is not defined "
            "where that gain's interval includes 0. `lab` is the change of `fused` on "
            f"{s['forget_split']} ({counted(s['forget_persons'], 'person')}): forgetting.",
            f"CPU seconds in all: {sum(spent.values()):.0f} (trainings {spent['training']}, measurements "
            f"{spent['measuring']}, groups and scores {spent['groups']}).",
            f"Commands:\n\n{commands}",
        ]
    )


def answers_table(rows: dict[str, Any], kind: str) -> str:
    """Errors of every answer, differences to the base, headroom; columns that nobody has are left out."""
    lines = []
    for name, row in rows.items():
        rate = (row["choice"] or {}).get("rate")
        start = [name, str(len(row["runs"]) or NOT_RUN), f"{rate:g}" if rate else ""]
        lines.append(start + (_answers(row[kind]) if kind in row else [""] * (len(ANSWERS) + 4)))
    header = ["row", "runs", "rate", *ANSWERS.values()]
    header += ["fused - base", "min 10 - base", "sd fused / min 10", "headroom fused / min 10"]
    return _grid(header, lines)


def _answers(found: dict[str, Any]) -> list[str]:
    sds, room = ([found[key][c] for c in ("fused", "min_of_10")] for key in ("sd_over_runs_mm", "headroom_percent"))
    return [
        *(_mean(found["mm"].get(c)) for c in ANSWERS),
        *(_change(found["minus_base_mm"].get(c)) for c in ("fused", "min_of_10")),
        " / ".join(f"{v:.1f}" for v in sds if v is not None),
        " / ".join(f"{v} %" if isinstance(v, int) else v for v in room if v is not None),
    ]


def details_table(rows: dict[str, Any], kind: str) -> str:
    """Parts of the fused answer's error, spread, forgetting, and what it cost."""
    lines = []
    for name, row in rows.items():
        if kind in row:
            seconds = [row.get(key) for key in ("training_cpu_seconds", "measuring_cpu_seconds")]
            costs = ["" if s is None else f"{s:.0f}" for s in seconds]
            mm = row[kind]["mm"]
            lines.append([name, *(_mean(mm.get(c)) for c in DETAILS), _change(row["forgetting_mm"]), *costs])
    return _grid(["row", *DETAILS.values(), "lab", "CPU s, training", "CPU s, measuring"], lines)


def pairs_table(paired: dict[str, Any]) -> str:
    """Differences of rows to best-of-N of the same critic."""
    lines = []
    for name, found in paired.items():
        for kind in TITLES:
            if kind in found:
                changes = [_change(found[kind][c]) for c in COMPARED]
                lines.append([f"{name} - {found['minus']}", kind, str(len(found["runs"])), *changes])
    return _grid(["pair", "", "runs", *COMPARED.values()], lines)


def trials_table(tuning: dict[str, Any], rows: dict[str, Any]) -> str:
    """Figures of every trial on validation persons, the chosen one in bold."""
    rates = sorted({t["rate"] for trials in tuning.values() for t in trials if t["rate"]})
    lines = []
    for name, trials in tuning.items():
        for steps in dict.fromkeys(t["steps"] for t in trials):
            by_rate = {t["rate"]: t for t in trials if t["steps"] == steps}
            chosen = (rows[name]["choice"] or {}) if name in rows else {}
            cells = [_trial(by_rate.get(r), chosen) for r in rates]
            if 0.0 in by_rate:  # the base, which has no rate
                lines.append([name, "", _trial(by_rate[0.0], {}), *[""] * (len(rates) - 1)])
            else:
                lines.append([name, str(steps), *cells])
    text = "`fused` / `min 10` on validation persons, samples as they are, mm; the chosen trial in bold, `!` where the "
    text += "guard stopped a run (the weights of its last good look are measured)."
    return f"{text}\n\n" + _grid(["row", "steps", *(f"{r:g}" for r in rates)], lines)


def _trial(trial: dict[str, Any] | None, chosen: dict[str, Any]) -> str:
    if trial is None:
        return ""
    if trial["skipped"]:
        return "skipped"
    if "fused" not in trial:
        return NOT_RUN
    text = f"{trial['fused']:.1f} / {trial['min_of_10']:.1f}" + (" !" if trial["stopped"] else "")
    same = chosen and (chosen["rate"], chosen["steps"]) == (trial["rate"], trial["steps"])
    return f"**{text}**" if same else text


def _sweeps(sweeps: dict[str, Any]) -> Iterable[str]:
    if sweeps["not_run"]:
        return [f"Not run: {sweeps['not_run']}."]
    parts = ["Change of `fused` (samples as they are; refined) against the base, mm."]
    for key, title in (("sizes", "hypotheses per group"), ("persons", "persons")):
        numbers = list(dict.fromkeys(n for row in sweeps[key].values() for n in row))
        lines = [[name, *(_sweep_cell(row.get(n, NOT_RUN)) for n in numbers)] for name, row in sweeps[key].items()]
        parts.append(_grid([title, *numbers], lines))
    return parts


def _sweep_cell(found: dict[str, Any] | str) -> str:
    if isinstance(found, str):
        return found
    return "; ".join(_change(found[kind]["fused"]) for kind in TITLES)


def _replication(found: dict[str, Any]) -> str:
    lines = []
    for name, entry in found.items():
        if entry == NOT_RUN:
            lines.append([name, NOT_RUN, *[""] * len(COMPARED)])
            continue
        for kind in TITLES:
            cells = [
                f"{f['mean']:+.1f} in {f['published'][0]:+.1f} to {f['published'][1]:+.1f}: "
                f"{'yes' if f['inside'] else 'no'}"
                for f in (entry[kind][c] for c in COMPARED)
            ]
            lines.append([name, kind, *cells])
    text = (
        "One new fine-tuning seed on each base: mean difference to the base, and whether it lies in the interval above."
    )
    return f"{text}\n\n" + _grid(["row", "", *COMPARED.values()], lines)


def stopped_table(document: dict[str, Any]) -> str:
    """Runs and trials that their guard ended, and why."""
    lines = [[n, run, why] for n, row in document["rows"].items() for run, why in row["stopped"].items()]
    lines += [
        [name, f"trial {t['rate']:g}, {counted(t['steps'], 'step')}", t["stopped"]]
        for name, trials in document["tuning"].items()
        for t in trials
        if t["stopped"]
    ]
    return _grid(["row", "run", "why"], lines)


def _mean(values: list[float] | None) -> str:
    return "" if values is None else f"{values[0]:.1f}"


def _change(values: list[float] | None) -> str:
    return "" if values is None else f"{values[0]:+.1f} ({values[1]:+.1f} to {values[2]:+.1f})"


def _grid(header: list[str], rows: list[list[str]]) -> str:
    """A table without columns that are empty in every row."""
    if not rows:
        return "None."
    kept = [k for k in range(len(header)) if k == 0 or any(row[k] for row in rows)]
    return markdown_table([header[k] for k in kept], [[row[k] for k in kept] for row in rows])
