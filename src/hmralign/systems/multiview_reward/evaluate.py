"""`hmralign multiview evaluate`: what the judge reads off the views of models, beside controls and true views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmralign.alignment.multiview_reward import sampled_views
from hmralign.evaluation.multiview_arms import arm_row
from hmralign.evaluation.multiview_controls import at_random, most_central, one_step, retrieved
from hmralign.reports.markdown_table import markdown_table
from hmralign.systems.multiview_reward.opened import (
    PersonsConfig,
    ReadersConfig,
    opened_critic,
    opened_policy,
    persons_of_test,
)
from hmralign.training.multiview_base import view_persons


@dataclass(frozen=True)
class MultiViewEvaluateConfig:
    """Who is measured by whom."""

    readers: ReadersConfig = field(default_factory=ReadersConfig)
    persons: PersonsConfig = field(default_factory=PersonsConfig)
    seed: int = 1
    """Seed of the samples' noise."""


MEANT = 4
MEAN = f"mean of {MEANT} samples of the base"
"""What a model gains by saying less: a score that likes haze likes it, too."""


def evaluate_views(
    models: Sequence[str], config: MultiViewEvaluateConfig, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Figures of each model, the first of which the others are compared with, of controls, and of true views."""
    critic = opened_critic(config.readers, config.persons, device)
    test, hard = persons_of_test(config.persons)
    drawn = config.persons.drawn_as
    bank = view_persons(drawn, config.persons.base, "base", kind=drawn.kind)
    first = opened_policy(models[0], config.persons, device)
    count = len(test.joints)
    known = {
        "true views": test.pixels.float(),
        "random body": bank.pixels[at_random(count, bank, 0)].float(),
        "most central body": bank.pixels[torch.full((count,), most_central(bank))].float(),
        "retrieval by image": retrieved(test.pixels[:, 0], bank),
        "one call of the base": one_step(first.cpu(), test),
        MEAN: torch.stack([sampled_views(first, test, config.seed + n) for n in range(MEANT)]).mean(0),
    }
    figures = {name: _figures(critic, views, test) for name, views in known.items()}
    for model in models:
        policy = opened_policy(model, config.persons, device)
        figures[model] = _figures(critic, sampled_views(policy, test, config.seed), test)
    kinds = {"ordinary": ~hard.numpy(), "hard": hard.numpy(), "all": np.ones(count, bool)}
    rows = [
        {"views": name, **{kind: _row(found, figures[models[0]], chosen) for kind, chosen in kinds.items()}}
        for name, found in figures.items()
    ]
    return {"persons": {kind: int(chosen.sum()) for kind, chosen in kinds.items()}, "base": models[0], "rows": rows}


def _figures(critic: Any, views: torch.Tensor, test: Any) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in critic.figures(views, test).items()}


def _row(found: dict[str, np.ndarray], base: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, Any]:
    row = arm_row([found], [base], chosen)
    value, change = row["value"].scaled(1000.0), row["change"]
    return {
        "mpjpe_mm": [value.mean, value.low, value.high],
        "against_base": [change.mean, change.low, change.high],
        "psnr": _finite(found["psnr"][chosen].mean()),
        **{name: float(found[name][chosen].mean()) for name in ("pa_mpjpe", "ssim", "soft_iou", "haze", "pose_score")},
    }


def _finite(value: np.floating) -> float | None:
    """As JSON can say it: None for the PSNR of views that are the true ones."""
    return float(value) if np.isfinite(value) else None


def evaluation_markdown(document: dict[str, Any]) -> str:
    """The tables: MPJPE by the judge in mm with 95 % intervals over persons, and the change against the first model."""
    parts = []
    for kind, count in document["persons"].items():
        lines = []
        for row in document["rows"]:
            f = row[kind]
            value, change = f["mpjpe_mm"], f["against_base"]
            name = Path(row["views"]).name if "/" in row["views"] else row["views"]
            lines.append(
                [
                    name, f"{value[0]:.1f}", f"{value[1]:.1f} to {value[2]:.1f}", f"{100 * change[0]:+.1f} %",
                    f"{100 * change[1]:+.1f} to {100 * change[2]:+.1f}",
                    "the same" if f["psnr"] is None else f"{f['psnr']:.2f}", f"{f['ssim']:.3f}",
                    f"{f['soft_iou']:.3f}", f"{f['haze']:.2f}", f"{f['pose_score']:.4f}",
                ]
            )  # fmt: skip
        header = ["views", "mm", "95 %", "against base", "95 %", "PSNR", "SSIM", "IoU", "haze", "PoseScore"]
        parts += [f"{kind} poses, {count} persons", "", markdown_table(header, lines), ""]
    return "\n".join(parts)
