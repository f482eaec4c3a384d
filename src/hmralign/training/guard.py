"""Whether an alignment run goes wrong: its losses, its held-out score and its spread, against the start's."""

from __future__ import annotations

import math

from hmralign.training.preference_configuration import PreferenceTrainingConfig

SMALLEST_STD = 0.01
"""The smallest spread of held-out scores; critics span about one unit, and hypotheses all alike have next to none."""


def guard(figures: dict[str, float], start: dict[str, float], config: PreferenceTrainingConfig) -> str | None:
    """Why a run should stop; None where all is well. Figures that are not there are not judged."""
    for name, value in figures.items():
        if not math.isfinite(value):
            return f"{name} is not finite"
    if figures.get("loss_ratio", 1.0) > config.max_loss_ratio:
        return f"the loss is {figures['loss_ratio']:.2f} times the reference's"
    if "held_out" in figures and "held_out" in start:
        fallen = start["held_out"] - figures["held_out"]
        if fallen > config.max_drop * max(start.get("held_out_std", 1.0), SMALLEST_STD):
            return f"the held-out score fell by {fallen:.3g}"
    if "spread" in figures and "spread" in start and figures["spread"] < config.min_spread * start["spread"]:
        return f"the spread of hypotheses fell to {figures['spread'] / start['spread']:.0%} of the start's"
    return None
