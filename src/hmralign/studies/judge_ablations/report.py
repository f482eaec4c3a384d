"""The study as one document of plain values, and as Markdown. Intervals are (mean, low, high), 95 %, in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hmralign.evaluation.critic_audit import audit_critic
from hmralign.preferences.store import GroupStore
from hmralign.reports.markdown_table import markdown_table
from hmralign.structures.counted import counted
from hmralign.studies.critic_audit.audit import cluster_of, group_errors
from hmralign.studies.judge_ablations.plan import changes
from hmralign.studies.judge_ablations.steps import short_hash
from hmralign.studies.judge_ablations.study import AblationStudy, ArmResult, same_scores
from hmralign.studies.table import RunKey, Runs, columns_over, difference, row_figures

FORMAT_VERSION = 1
COLUMNS = ("fused", "selected", "min_of_10")
TITLES = {"raw": "samples as they are", "refined": "with test-time refinement"}
OF_SCORES = ("srcc", "kendall", "plcc_logistic", "regret_mm", "pair_accuracy", "silent")
COMPARED_SCORES = ("srcc", "regret_mm")


def study_document(study: AblationStudy, results: Sequence[ArmResult], base: ArmResult) -> dict[str, Any]:
    """Everything, ready for JSON."""
    config, judge = study.config, study.judge
    reference = next(r for r in results if r.arm.name == config.reference.name)
    scores = _audits(study, results, reference)
    arms = {r.arm.name: _arm(study, r, base, reference) | {"against_truth": scores.get(r.scores)} for r in results}
    distinct = {name: step.done() for name, step in study.steps.items()}
    stores = {"learn": study.learn_store, "score": study.score_store}
    return {
        "format_version": FORMAT_VERSION,
        "judged_by": "nobody: no arm asks a judge" if judge is None else judge.what,
        "judge_is_a_model": judge is not None and judge.model,
        "model": None if judge is None else judge.backend.model,
        "reference": reference.arm.name,
        "base": {"sha256": study.base_sha256},
        "stores": {
            name: {
                "source": s.facts.source, "groups": len(s), "group_size": s.facts.group_size,
                "content_sha256": s.content_hash(),
            }
            for name, s in stores.items()
        },
        "measured": study.measured.record | {"hypotheses": config.measure.hypotheses},
        "settings": config.record,
        "settings_sha256": short_hash(config.record),
        "arms": arms,
        "same_scores": same_scores(study, results),
        "journal": asdict(study.journal.spent()),
        "cpu_seconds": round(sum(done["cpu_seconds"] for done in distinct.values() if done), 1),
    }  # fmt: skip


def _arm(study: AblationStudy, result: ArmResult, base: ArmResult, reference: ArmResult) -> dict[str, Any]:
    of_base: Runs = {(0, 0): base.runs[0]}
    runs: Runs = {(0, seed): run for seed, run in result.runs.items()}
    figures = row_figures(runs, of_base, None) if runs else {}
    others: Runs = {(0, seed): run for seed, run in reference.runs.items()}
    if result.arm.method == "none":  # it has no seeds: what it is compared with has
        runs = {key: base.runs[0] for key in others}
    compared = {} if result.arm.name == reference.arm.name else _compared(runs, others)
    return {
        "changes": changes(result.arm), "steps": result.steps, "scores": result.scores, "skipped": result.skipped,
        "learnt": result.learnt, "scored": result.scored, "aligned": list(result.aligned),
        "figures": {kind: figures[kind] for kind in study.config.measure.kinds if kind in figures},
        f"minus_{reference.arm.name}_mm": compared, "cost": asdict(result.cost), "cpu_seconds": result.cpu_seconds,
    }  # fmt: skip


def _compared(runs: Runs, reference: Runs) -> dict[str, Any]:
    """Paired differences on the seeds that both have."""
    keys: list[RunKey] = [key for key in runs if key in reference]
    if not keys:
        return {}
    found = {}
    for kind in runs[keys[0]].kinds:
        mine, theirs = (columns_over([side[key].kinds[kind] for key in keys]) for side in (runs, reference))
        found[kind] = {name: difference(mine[name], theirs[name]) for name in COLUMNS}
    return found


def _audits(
    study: AblationStudy, results: Sequence[ArmResult], reference: ArmResult
) -> dict[str | None, dict[str, Any]]:
    """How far the scores agree with the truth of the scored groups, by the name of the scores; empty without truth."""
    store = GroupStore.open(study.config.score)
    if not store.facts.with_truth or len(store) < 2:
        return {}
    errors, clusters = group_errors(store, len(store)), [cluster_of(name) for name in store.ids]
    scores: dict[str, Any] = {
        r.scores: store.scores(r.scores).double().numpy() for r in results if r.scores is not None
    }
    found: dict[str | None, dict[str, Any]] = {}
    for name, values in scores.items():
        first = None if name == reference.scores else scores[str(reference.scores)]
        record = audit_critic(values, errors, clusters, first).record()
        found[name] = {measure: record["per_group"][measure] for measure in OF_SCORES}
        if record["difference"]:
            found[name]["difference"] = {measure: record["difference"][measure] for measure in COMPARED_SCORES}
    return found


# -- Markdown ----------------------------------------------------------------------------------------------------------


def study_markdown(document: dict[str, Any], introduction: str = "") -> str:
    """Tables of the document; `introduction` is put behind the first lines, which say who judged."""
    reference = document["reference"]
    parts = ["# GPA's ablations", _who(document), introduction.strip(), _how(document)]
    for kind in document["settings"]["measure"]["kinds"]:
        parts += [f"## Models, {TITLES[kind]}", _models(document, kind)]
    if any(arm["against_truth"] for arm in document["arms"].values()):
        parts += [f"## Scores against the truth of the scored groups, beside `{reference}`", _scores(document)]
    if document["same_scores"]:
        equal = "; ".join(", ".join(f"`{name}`" for name in names) for names in document["same_scores"])
        parts.append(f"Scored apart with scores equal to the last digit, unmoved by what differs: {equal}.")
    parts += ["## What was learnt and scored", _learnt(document), "## Cost", _costs(document)]
    parts += ["## Settings", _settings(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _who(document: dict[str, Any]) -> str:
    who = f"**Judged by {document['judged_by']}.**"
    if document["judge_is_a_model"] or document["model"] is None:
        return who
    return (
        f"{who} No vision-language model was asked: this shows the mechanism only, that every arm runs and that its "
        "switch reaches the scores, and is no evidence about real judges."
    )


def _how(document: dict[str, Any]) -> str:
    stores, measured = document["stores"], document["measured"]
    seeds = ", ".join(map(str, document["settings"]["seeds"]))
    return (
        f"Explored on {_of_store(stores['learn'])}, scored {_of_store(stores['score'])}, measured on "
        f"{counted(measured['persons'], 'person')} of {measured['source']}, M = {measured['hypotheses']}; "
        "fine-tuning seeds "
        f"{seeds}. Millimetres, root-relative; differences are paired over persons, with 95 % bootstrap intervals "
        "over persons, which hold no variation of seeds or of the judge. `selected` is picked by reprojection; "
        "`min of 10` is an oracle."
    )


def _of_store(store: dict[str, Any]) -> str:
    return f"{counted(store['groups'], 'group')} of {store['group_size']} ({store['source']})"


def _models(document: dict[str, Any], kind: str) -> str:
    reference = document["reference"]
    rows = []
    for name, arm in document["arms"].items():
        figures = arm["figures"].get(kind)
        if figures is None:
            rows.append([name, *[""] * 5, arm["skipped"] or ""])
            continue
        minus = figures["minus_base_mm"] if arm["changes"].get("method") != "none" else {}
        against = arm[f"minus_{reference}_mm"].get(kind, {})
        note = next((f"stopped: {a['stopped']}" for a in arm["aligned"] if a["stopped"]), "")
        rows.append(
            [name, _mean(figures["mm"]["fused"]), *(_interval(minus.get(c)) for c in COLUMNS),
             _interval(against.get("fused")), note]
        )  # fmt: skip
    heads = ["fused", *(f"{c.replace('_', ' ')} - base" for c in COLUMNS), f"fused - {reference}", ""]
    return _grid(["arm", *heads], rows)


def _scores(document: dict[str, Any]) -> str:
    rows = []
    for name, arm in document["arms"].items():
        if (found := arm["against_truth"]) is None:
            continue
        less = found.get("difference", {})
        rows.append(
            [name, _interval(found["srcc"], 3), _interval(less.get("srcc"), 3), _interval(found["regret_mm"]),
             _interval(less.get("regret_mm")), _mean(found["pair_accuracy"], 3), _mean(found["silent"], 2)]
        )  # fmt: skip
    heads = ["arm", "SRCC", "difference", "regret, mm", "difference", "pairs in order", "silent groups"]
    return _grid(heads, rows)


def _learnt(document: dict[str, Any]) -> str:
    rows = []
    for name, arm in document["arms"].items():
        learnt, scored = arm["learnt"] or {}, arm["scored"] or {}
        rows.append(
            [name, *(_plain(learnt.get(k)) for k in ("episodes", "successes", "mean_rho", "rules", "cases")),
             _count(learnt.get("unjudged")),
             *(_plain(scored.get(k)) for k in ("speaking", "judged", "uninformative")),
             _count(scored.get("unjudged")),
             "/".join(str(a["groups"]) for a in arm["aligned"])]
        )  # fmt: skip
    heads = ["arm", "episodes", "successes", "mean rho", "rules", "cases", "unjudged in learning",
             "groups that differ", "judged", "uninformative", "unjudged", "trained on"]  # fmt: skip
    return _grid(heads, rows)


def _costs(document: dict[str, Any]) -> str:
    rows = []
    for name, arm in document["arms"].items():
        cost = arm["cost"]
        price = "" if cost["price"] is None else f"{cost['price']:.2f}"
        rows.append([name, cost["calls"], cost["prompt_tokens"], cost["completion_tokens"], price, arm["cpu_seconds"]])
    spent = document["journal"]
    priced = f"{spent['cost']:.2f}" if spent["calls"] and not spent["unpriced"] else ""
    rows.append(["all, each call and step once", spent["calls"], spent["prompt_tokens"], spent["completion_tokens"],
                 priced, document["cpu_seconds"]])  # fmt: skip
    text = "Of each arm as if it stood alone: what arms share is counted in each."
    if elsewhere := [name for name, arm in document["arms"].items() if arm["cost"]["elsewhere"]]:
        text += (
            f" The store had been scored in the same way before, at a cost that is not here: {', '.join(elsewhere)}."
        )
    heads = ["arm", "calls", "tokens in", "tokens out", "price", "CPU s"]
    return f"{text}\n\n{_grid(heads, [[str(cell) for cell in row] for row in rows])}"


def _settings(document: dict[str, Any]) -> str:
    rows = []
    for name, arm in document["arms"].items():
        memory = (arm["learnt"] or {}).get("memory_sha256", "")[:12]
        weights = "/".join(a["sha256"][:12] for a in arm["aligned"])
        words = ", ".join(f"{k}: {v}" for k, v in arm["changes"].items())
        rows.append([name, words or "nothing", memory, arm["scores"] or "", weights])
    head = (
        f"Settings of the study: {document['settings_sha256']}; base {document['base']['sha256'][:12]}; groups to "
        f"learn on {document['stores']['learn']['content_sha256'][:12]}, to score "
        f"{document['stores']['score']['content_sha256'][:12]}; persons {document['measured']['sha256'][:12]}. All of "
        "them are in the JSON file."
    )
    return f"{head}\n\n{_grid(['arm', 'changes', 'memory', 'scores', 'weights'], rows)}"


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(heads, rows, words=len(heads))


def _interval(values: Sequence[float] | None, digits: int = 1) -> str:
    if values is None:
        return ""
    mean, low, high = (f"{v:.{digits}f}" for v in values)
    return f"{mean} ({low} to {high})"


def _mean(values: Sequence[float] | None, digits: int = 1) -> str:
    return "" if values is None else f"{values[0]:.{digits}f}"


def _count(values: Sequence[Any] | None) -> str:
    return "" if values is None else str(len(values))


def _plain(value: Any) -> str:
    return "" if value is None else str(value)
