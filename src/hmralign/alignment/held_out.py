"""What is looked at during a run: bodies of held-out persons, judged by a critic that is not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hmralign.alignment.scored_groups import ScoredGroups
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.critics.critic import Critic, judge
from hmralign.hypotheses.spread import joint_spread
from hmralign.storage.seeds import seeded
from hmralign.structures import Example, Observation


@dataclass(frozen=True)
class HeldOut:
    """A `Monitor`: the same persons and the same noise at every look."""

    observation: Observation
    critics: dict[str, Critic]
    """`held_out` and, to compare, `trained_on`."""
    hypotheses: int

    def __call__(self, policy: Any) -> dict[str, float]:
        """Mean scores over all hypotheses, their spread within groups, and the spread of the bodies in metres."""
        device = next(policy.parameters()).device
        seen = self.observation.to(device)
        with torch.no_grad():
            x_0 = policy.sample(policy.context(seen), self.hypotheses, seeded(0, "held out look"))
            bodies = policy.to_body(x_0, seen)
        figures = {"spread": float(joint_spread(bodies.joints[:, :, :NUM_JOINTS]).mean())}
        for name, critic in self.critics.items():
            scores = judge(critic, bodies, Example(seen))
            figures[name] = float(scores.mean())
            figures[f"{name}_std"] = float(scores.std(dim=1).mean())
        return figures


def split_held_out(groups: ScoredGroups, share: float, at_most: int, seed: int) -> tuple[ScoredGroups, ScoredGroups]:
    """Training and held-out groups, by a seeded draw; at least one of each, unless nothing is to be held out."""
    order = torch.randperm(len(groups), generator=seeded(seed, "held out"))
    if share == 0 or len(groups) < 2:
        return groups, groups[order[:0]]
    n = max(1, min(at_most, round(share * len(groups)), len(groups) - 1))
    return groups[order[n:].sort().values], groups[order[:n].sort().values]
