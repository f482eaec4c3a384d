"""What a study will ask before it asks: calls and tokens by arm, and in all, where arms share steps.

By the assumptions of `group_preference.judging_cost`: a memory that is full from the first group on. Answers that arms
have in common although their settings differ (the first round of every exploration) are counted in each.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hmralign.preferences.store import GroupStore
from hmralign.reports.markdown_table import markdown_table
from hmralign.structures.counted import counted
from hmralign.studies.judge_ablations.settings import Arm, StudyConfig
from hmralign.studies.judge_ablations.steps import short_hash
from hmralign.systems.group_preference.judging_cost import JudgingCost, estimate_counts, estimate_exploration
from hmralign.vlm.image_tokens import QWEN3_VL, ImageGrid

_NOTHING = JudgingCost(0, 0, 0, 0, 0, 0)


def plan_study(config: StudyConfig, grid: ImageGrid = QWEN3_VL) -> dict[str, Any]:
    """What arms change and ask, and with whom they share it. Raises InputError as `GroupStore.open`."""
    learn, score = GroupStore.open(config.learn), GroupStore.open(config.score)
    rows: dict[str, Any] = {}
    steps: dict[str, JudgingCost] = {}
    owners: dict[str, str] = {}
    for arm in config.arms:
        own = _estimates(config, arm, learn, score, grid)
        shared = sorted({owners[name] for name in own if name in owners})
        for name, estimate in own.items():
            steps.setdefault(name, estimate)
            owners.setdefault(name, arm.name)
        rows[arm.name] = {"changes": changes(arm), "shares_with": shared, **_plain(sum(own.values(), _NOTHING))}
    return {
        "learn": {"source": learn.facts.source, "groups": len(learn), "group_size": learn.facts.group_size},
        "score": {"source": score.facts.source, "groups": len(score), "group_size": score.facts.group_size},
        "arms": rows,
        "total": _plain(sum(steps.values(), _NOTHING)),
    }


def changes(arm: Arm) -> dict[str, Any]:
    """What an arm has that a plain one has not."""
    plain = asdict(Arm(arm.name))
    return {name: value for name, value in asdict(arm).items() if value != plain[name]}


def _estimates(
    config: StudyConfig, arm: Arm, learn: GroupStore, score: GroupStore, grid: ImageGrid
) -> dict[str, JudgingCost]:
    """Cost of each step that asks, by a name that arms have in common where they ask the same."""
    found: dict[str, JudgingCost] = {}
    if not arm.asks:
        return found
    explore, scoring = config.explore_config(arm), config.score_config(arm)
    key = short_hash(explore.record) if arm.learns else "none"
    if arm.learns:
        groups = min(explore.groups or len(learn), len(learn))
        found[f"learn {key}"] = estimate_exploration(groups, learn.facts.group_size, explore, grid=grid)
    asked = asdict(scoring) if arm.learns else asdict(scoring.judge)
    found[f"score {key} {short_hash(asked)}"] = estimate_counts(
        len(score), score.facts.group_size, scoring, memory=arm.learns, grid=grid
    )
    return found


def _plain(estimate: JudgingCost) -> dict[str, int]:
    return {
        "calls": estimate.calls, "prompt_tokens": estimate.prompt_tokens,
        "completion_tokens": estimate.completion_tokens, "completion_tokens_most": estimate.completion_tokens_most,
    }  # fmt: skip


def plan_markdown(plan: dict[str, Any]) -> str:
    """For a person who decides whether to begin."""
    lines = [
        f"Exploring {plan['learn']['source']}: {counted(plan['learn']['groups'], 'group')} of "
        f"{plan['learn']['group_size']}; "
        f"scoring {plan['score']['source']}: {counted(plan['score']['groups'], 'group')} of "
        f"{plan['score']['group_size']}.",
        "",
    ]
    rows = []
    for name, row in plan["arms"].items():
        words = ", ".join(f"{k}: {v}" for k, v in row["changes"].items()) or "nothing"
        rows.append([name, words, ", ".join(row["shares_with"]), *_numbers(row)])
    header = ["arm", "changes", "shares with", "calls", "tokens in", "tokens out, about"]
    total = f"| all, shared steps once | | | {' | '.join(_numbers(plan['total']))} |"
    return "\n".join([*lines, markdown_table(header, rows, words=3), total])


def _numbers(row: dict[str, Any]) -> list[str]:
    return [str(row["calls"]), f"{row['prompt_tokens']:.3g}", f"{row['completion_tokens']:.3g}"]
