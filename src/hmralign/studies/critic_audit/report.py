"""The document of an audit as Markdown tables."""

from __future__ import annotations

from typing import Any

from hmralign.reports.markdown_table import markdown_table
from hmralign.structures.counted import counted


def audit_markdown(document: dict[str, Any]) -> str:
    """Tables of `audit_store`'s document."""
    d = document
    of_persons = "" if d["persons"] == d["groups"] else f" ({counted(d['persons'], 'photo')} or persons)"
    source = d["store"]["source"]
    parts = [
        f"# Critics against the truth: {counted(d['groups'], 'group')} of {d['group_size']} from {source}{of_persons}",
        f"Written by `hmralign critic audit`. Error: {d['error']}; "
        f"{d['mean_error_mm']:.1f} mm on average. A random pick costs "
        f"{d['chance_regret_mm']:.1f} mm above the best of its group. Means over groups with 95 % bootstrap intervals "
        "over persons; a silent group counts as correlation 0. PLCC is after a rising logistic of four parameters, "
        "fitted once to all groups on these very scores; in brackets it is without. Pairs with equal scores count a "
        "half in the pair accuracy.",
        "## Per group",
        _per_group(d["critics"]),
        "## Pooled over all hypotheses",
        _pooled(d["critics"]),
        "## One hypothesis of each group (protocol adhmr-pooled)",
        "As ADHMR tests its critic: one prediction an instance, drawn once, correlations over instances. Published: "
        "HMR-Scorer 0.63 PLCC and 0.62 SRCC by PVE on GTA-Human II, 0.66 and 0.64 on DNA-Rendering (ADHMR, table 1, "
        "whose caption and columns disagree). Other data and other errors do not compare.",
        _one_each(d["critics"]),
    ]
    if d["reference"] and any(row["difference"] for row in d["critics"].values()):
        parts += [f"## Difference to {d['reference']} on the same groups", _difference(d["critics"])]
    if speaking := {name: row["habits"] for name, row in d["critics"].items() if "habits" in row}:
        parts += ["## Habits of critics that speak", _habits(speaking)]
    if "planted" in d:
        parts += ["## Planted mistakes", _planted(d["planted"])]
    return "\n\n".join(parts) + "\n"


def said(values: list[float], digits: int) -> str:
    """`mean (low to high)`."""
    return f"{values[0]:.{digits}f} ({values[1]:.{digits}f} to {values[2]:.{digits}f})"


def _per_group(critics: dict[str, Any]) -> str:
    header = ["critic", "SRCC", "PLCC", "tau-b", "regret, mm", "pair accuracy", "ties", "levels", "silent groups"]
    rows = []
    for name, row in critics.items():
        m = row["per_group"]
        rows.append(
            [
                name, said(m["srcc"], 3), f"{said(m['plcc_logistic'], 3)} [{m['plcc'][0]:.3f}]", said(m["kendall"], 3),
                said(m["regret_mm"], 1), said(m["pair_accuracy"], 3), f"{m['tie_rate'][0]:.1%}",
                f"{m['levels'][0]:.1f}", f"{m['silent'][0]:.1%}",
            ]
        )  # fmt: skip
    return markdown_table(header, rows)


def _pooled(critics: dict[str, Any]) -> str:
    rows = []
    for name, row in critics.items():
        p = row["pooled"]
        rows.append(
            [
                name, said(p["srcc"], 3), f"{said(p['plcc_logistic'], 3)} [{p['plcc'][0]:.3f}]", f"{p['kendall']:.3f}",
                str(p["levels"]), row["scores"],
            ]
        )  # fmt: skip
    return markdown_table(["critic", "SRCC", "PLCC", "tau-b", "levels", "scores"], rows)


def _one_each(critics: dict[str, Any]) -> str:
    rows = [
        [name, said(row["adhmr_pooled"]["srcc"], 3), said(row["adhmr_pooled"]["plcc"], 3)]
        for name, row in critics.items()
    ]
    return markdown_table(["critic", "SRCC", "PLCC"], rows)


def _difference(critics: dict[str, Any]) -> str:
    names = {"srcc": ("SRCC", 3), "plcc_logistic": ("PLCC", 3), "kendall": ("tau-b", 3), "regret_mm": ("regret, mm", 1),
             "pair_accuracy": ("pair accuracy", 3)}  # fmt: skip
    rows = [
        [name, *(said(row["difference"][key], digits) for key, (_, digits) in names.items())]
        for name, row in critics.items()
        if row["difference"]
    ]
    return markdown_table(["critic", *(title for title, _ in names.values())], rows)


def _habits(critics: dict[str, Any]) -> str:
    """No truth behind these: what a judge does whatever it is shown."""
    header = ["critic", "judged", "uninformative", "unjudged", "calls", "points from first to last place", "flips",
              "test-retest", "ties in a call", "levels", "multiples of 5", "entropy, bits"]  # fmt: skip
    rows = []
    for name, h in critics.items():
        slope, error = h.get("position_slope"), h.get("position_slope_error")
        bias = "" if slope is None else f"{slope:+.1f}" + ("" if error is None else f" (s.e. {error:.1f})")
        shares = {n: "" if h.get(n) is None else f"{h[n]:.1%}" for n in ("flip_rate", "tie_rate", "share_of_fives")}
        numbers = {n: "" if h.get(n) is None else f"{h[n]:.2f}" for n in ("test_retest", "entropy_bits")}
        rows.append(
            [
                name, *(str(h["status"].get(s, 0)) for s in ("judged", "uninformative", "unjudged")),
                str(h.get("calls", 0)), bias, shares["flip_rate"], numbers["test_retest"], shares["tie_rate"],
                "" if h.get("levels") is None else f"{h['levels']:.0f}", shares["share_of_fives"],
                numbers["entropy_bits"],
            ]
        )  # fmt: skip
    return markdown_table(header, rows)


def _planted(planted: dict[str, Any]) -> str:
    """Rates in percent, with intervals."""
    mistakes = planted["mistakes"]
    critics = list(next((m["critics"] for m in mistakes.values() if "critics" in m), {}))
    rows = []
    for name, mistake in mistakes.items():
        row = [name, str(mistake["persons"]), f"{mistake['moved_mm']:.0f}" if "moved_mm" in mistake else ""]
        for critic in critics:
            found = mistake.get("critics", {}).get(critic)
            row.append("" if found is None else f"{said([100 * v for v in found['rate']], 0)}{_ties(found['tied'])}")
        rows.append(row)
    text = (
        f"How often the truth gets the better score, of the true body and the same body with one mistake, on up to "
        f"{counted(planted['persons'], 'person')}, in percent with 95 % intervals; equal scores count a half. "
        "`moved`: mean "
        "distance of the joints where they stand. Only proportions, which change a little with size, show `large and "
        "far` in a picture: rates below the others' are to be expected. A critic that judges by the group "
        "(`consistency`) sees a group of two here and can say nothing; the errors of `oracle` are pelvis-relative, and "
        "do not say where somebody stands.\n\n"
    )
    if planted["not_asked"]:
        text += f"Not asked, since only their scores are there: {', '.join(planted['not_asked'])}.\n\n"
    return text + markdown_table(["mistake", "persons", "moved, mm", *critics], rows)


def _ties(share: float) -> str:
    return f", {share:.0%} tied" if share >= 0.005 else ""
