"""`hmralign multiview align`: a base in, one fine-tuned by PoseScore out, with curves and views before and after."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hmralign.alignment.multiview_reward import (
    MultiViewRewardConfig,
    RewardData,
    RewardOutcome,
    fine_tune,
    sampled_views,
)
from hmralign.critics.view_figures import ViewCritic
from hmralign.overlays.view_strips import view_strip, with_skeletons
from hmralign.rendering.ring_persons import RingPersons, joint_pixels
from hmralign.reports.multiview_report import Chart, MultiViewReport, StripsOfPerson, write_multiview_report
from hmralign.storage.folder_lock import held_folder
from hmralign.storage.whole_file import write_json
from hmralign.structures.counted import counted
from hmralign.systems.multiview_reward.opened import PersonsConfig, ReadersConfig, opened_critic, opened_policy
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import curve_rows
from hmralign.training.multiview_base import base_view_loss, view_persons


@dataclass(frozen=True)
class MultiViewAlignConfig:
    """One fine-tuning."""

    training: MultiViewRewardConfig = field(default_factory=MultiViewRewardConfig)
    readers: ReadersConfig = field(default_factory=ReadersConfig)
    persons: PersonsConfig = field(default_factory=PersonsConfig)
    renders: bool = False
    """The base loss sees the renders of the fine-tuning persons instead of base data: a control, never the method."""
    shown: int = 6
    """Held-out persons in the report."""


@dataclass(frozen=True)
class AlignedViews:
    """Where the weights and the page are, and how the run went."""

    checkpoint: Path
    report: Path
    outcome: RewardOutcome


def align_views(
    base: str, config: MultiViewAlignConfig, folder: Path, device: str | torch.device = "cpu"
) -> AlignedViews:
    """Fine-tune, resuming from `folder`; writes checkpoint, curve, summary and report.

    Raises InputError for a folder that is in use, and as the loaders and the loop do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held_folder(folder, "fine-tuning a multi-view model"):
        persons = config.persons
        policy = opened_policy(base, persons, device)
        critic = opened_critic(config.readers, persons, device)
        write_training_config(folder / "config.yaml", config)
        data = _data(config)
        start = deepcopy(policy).requires_grad_(False)
        outcome = fine_tune(policy, start, data, critic, base_view_loss, config.training, folder)
        checkpoint = outcome.policy.save(folder / "multiview.safetensors", (f"base:{Path(base).name}",))
        rows = curve_rows(folder / "curve.jsonl")
        write_json(folder / "summary.json", _summary(outcome, rows))
        page = _page(start.cpu(), outcome, critic, data.held_out[: config.shown], rows, config)
        return AlignedViews(checkpoint, write_multiview_report(folder / "report.html", page), outcome)


def _data(config: MultiViewAlignConfig) -> RewardData:
    persons, drawn = config.persons, config.persons.drawn_as
    tuned = view_persons(drawn, persons.fine_tuning, "fine-tuning")
    base = tuned if config.renders else view_persons(drawn, persons.base, "base", kind=drawn.kind)
    return RewardData(tuned, base, view_persons(drawn, persons.held_out, "held out", "val"))


def _summary(outcome: RewardOutcome, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 2),
        "stopped": outcome.stopped,
        "start": {name: value for name, value in rows[0].items() if name.startswith("held_out")},
        "kept": outcome.look,
        "best_mpjpe": min(row["held_out_mpjpe"] for row in rows),
    }


def _page(
    start: Any, outcome: RewardOutcome, critic: ViewCritic, shown: RingPersons, rows: list[dict[str, Any]],
    config: MultiViewAlignConfig,
) -> MultiViewReport:  # fmt: skip
    before, after = (sampled_views(policy, shown, 0) for policy in (start, outcome.policy))
    error, score = (
        [(float(row["step"]), row[name]) for row in rows] for name in ("held_out_mpjpe", "held_out_pose_score")
    )
    facts = {
        "steps": str(outcome.steps),
        "stopped by its guard": outcome.stopped or "no",
        "reward weight": f"{config.training.reward_weight:g}",
        "drift weight": f"{config.training.rollout.kappa:g}",
        "base loss weight": f"{config.training.base_weight:g}",
    }
    return MultiViewReport(
        "Multi-view fine-tuning",
        f"{counted(len(shown.joints), 'held-out person', 'held-out people')}, before and after",
        [_strips(n, shown[n : n + 1], before[n], after[n], critic) for n in range(len(shown.joints))],
        [
            Chart("Error of the judge on held-out persons, mm", "steps", {"judge": [(x, 1000 * y) for x, y in error]}),
            Chart("PoseScore of the same samples: the reward", "steps", {"PoseScore": score}),
        ],
        facts,
        ["PoseScore may rise while the pose gets worse; the judge, which trains nothing, is what counts."],
    )


def _strips(number: int, person: RingPersons, before: Any, after: Any, critic: ViewCritic) -> StripsOfPerson:
    true = joint_pixels(person.joints, critic.ring)[0]
    strips = [("true views and pose", with_skeletons(view_strip(person.pixels[0]), true))]
    for words, views in (("before", before), ("after", after)):
        read = joint_pixels(critic.judge(views[None].to(critic.device)).cpu(), critic.ring)[0]
        strips.append((words, view_strip(views)))
        strips.append((f"{words}, with the pose that the judge reads", with_skeletons(view_strip(views), read)))
    return StripsOfPerson(f"person {number + 1}", strips)
