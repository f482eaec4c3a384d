"""The document of a study of failures as Markdown tables."""

from __future__ import annotations

from typing import Any

from hmralign.reports.markdown_table import markdown_table
from hmralign.structures.counted import counted
from hmralign.studies.critic_audit.report import said

_TOO_FEW = "too few"


def failures_markdown(document: dict[str, Any]) -> str:
    """Tables of `study.failures`, each with what its figures mean."""
    parts = [
        "## How common the kinds are", _kinds(document),
        "## By segment", _segments(document),
        "## What the favourites cost", _regret(document),
        "## Which kind misleads most", _misled(document),
        "## Pairs that differ mainly by one kind", _pairs(document, "all"),
        "## The same pairs, where the limb concerned was observed", _pairs(document, "seen"),
        "## The same pairs, where it was not", _pairs(document, "hidden"),
        f"## {document['compared'][0]} minus {document['compared'][1]}", _difference(document),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _percent(values: list[float]) -> str:
    return said([100 * v for v in values], 1)


def _kinds(document: dict[str, Any]) -> str:
    header = ["kind", "of all segments, %", "of those seen", "of those hidden", "hypotheses with it, %",
              "groups where some make it, %", "where all do", "part of the error, mm", "of the best's, mm"]  # fmt: skip
    shares = ("segments", "seen_segments", "hidden_segments", "hypotheses_with", "groups_where_some",
              "groups_where_all")  # fmt: skip
    rows = [
        [name, *(f"{100 * k[s]:.1f}" for s in shares), f"{k['cost_mm']:.1f}", f"{k['cost_of_best_mm']:.1f}"]
        for name, k in document["kinds"].items()
    ]
    text = (
        f"{counted(document['groups'], 'group')} of {document['group_size']}; MPJPE is "
        f"{document['mean_error_mm']:.0f} mm on "
        "average and splits over segments without a remainder. `small` are segments without a mistake, whose bones "
        "are still a little off.\n\n"
    )
    turned = document["orientation_degrees"]
    if turned:
        quartiles = ", ".join(f"{turned[q]:.0f}" for q in ("quarter", "median", "three_quarters"))
        after = (
            f"\n\nBodies with the wrong orientation are turned by {quartiles} degrees (quartiles), "
            f"{turned['share_from_120']:.0%} of them by 120 or more."
        )
        return text + markdown_table(header, rows) + after
    return text + markdown_table(header, rows)


def _segments(document: dict[str, Any]) -> str:
    kinds = list(document["kinds"])
    rows = [
        [name, *(f"{100 * row[k]:.1f}" for k in kinds), f"{100 * row['not_observed']:.0f}", f"{row['cost_mm']:.1f}"]
        for name, row in document["segments"].items()
    ]
    return "Percent of hypotheses.\n\n" + markdown_table(
        ["segment", *kinds, "not observed, %", "part of the error, mm"], rows
    )


def _regret(document: dict[str, Any]) -> str:
    critics = document["regret"]["critics"]
    terms = list(next(iter(critics.values()))["by_kind_mm"])
    rows = [
        [name, said(row["regret_mm"], 1), *(said(row["by_kind_mm"][t], 1) for t in terms)]
        for name, row in critics.items()
    ]
    text = (
        "Error of the favourite above the best of its group, mm, and what it consists of: mistakes of the favourite "
        "that the best does not make in that segment, by kind; `same kind`: both make the same kind of mistake there, "
        "the favourite a larger one; `no mistake`: the favourite makes none there. The columns add up to the regret. "
        "Means over groups, 95 % bootstrap intervals over persons; below 0, favourites are better there than the "
        "bests.\n\n"
    )
    return text + markdown_table(["critic", "regret", *terms], rows)


def _misled(document: dict[str, Any]) -> str:
    critics = {n: r for n, r in document["regret"]["critics"].items() if "misled" in r}
    terms = list(next(iter(critics.values()))["misled_mainly_by"])
    limit = document["thresholds"]["misled_mm"]
    rows = []
    for name, row in critics.items():
        mainly = [f"{100 * row['misled_mainly_by'][t]:.1f}" for t in terms]
        above = row.get("favourite_above_truth")
        rows.append([name, _percent(row["misled"]), *mainly, "" if above is None else _percent(above)])
    text = (
        f"Percent of groups whose favourite is {limit:.0f} mm or more above the best, and the largest part of it; "
        "these columns add up to the first. Last: how often the favourite has a better score than the true body, "
        "equal scores a half.\n\n"
    )
    return text + markdown_table(["critic", "misled", *terms, "favourite above the truth"], rows)


def _pairs(document: dict[str, Any], where: str) -> str:
    limits = document["thresholds"]
    critics = list(document["regret"]["critics"])[:-1]
    rows = []
    for kind, row in document["pairs"].items():
        found = row[where]
        cells = [kind, str(found["pairs"]), str(found["persons"])]
        if "right" not in found:
            rows.append([*cells, "", *([_TOO_FEW] * len(critics))])
            continue
        rows.append([*cells, f"{found['gap_mm']:.0f}", *(_percent(found["right"][c]) for c in critics)])
    text = ""
    if where == "all":
        text = (
            f"Of two hypotheses of a person, {limits['least_gap_mm']:.0f} mm or more apart, at least two thirds of the "
            "difference being mistakes of one kind that only the worse one makes: how often the better one has the "
            f"better score, %, equal scores a half. 95 % bootstrap intervals over persons; fewer than "
            f"{limits['least_pairs']} pairs have no rate.\n\n"
        )
    return text + markdown_table(["kind", "pairs", "persons", "gap, mm", *critics], rows)


def _difference(document: dict[str, Any]) -> str:
    regret = document["regret"]["difference"]["by_kind_mm"]
    rows = []
    for kind, row in document["pairs"].items():
        found = [row[w] for w in ("all", "seen", "hidden")]
        rates = [_percent(f["difference"]) if "difference" in f else _TOO_FEW for f in found]
        rows.append([kind, *rates, said(regret[kind], 1)])
    for term in ("same kind", "no mistake"):
        rows.append([term, "", "", "", said(regret[term], 1)])
    rows.append(["all together", "", "", "", said(document["regret"]["difference"]["regret_mm"], 1)])
    text = "On the same pairs and groups: percentage points of right answers, and mm of the favourites' regret.\n\n"
    return text + markdown_table(["kind", "right, all pairs", "seen", "hidden", "regret, mm"], rows)
