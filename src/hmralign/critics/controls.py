"""The two ends of every audit: chance and truth. A critic is worth what it gains between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.structures import Example, Hypotheses, InputError


@dataclass(frozen=True)
class RandomCritic:
    """Uniform scores in [0, 1): what ranking by chance gives. Each call draws anew from `generator`."""

    generator: torch.Generator

    name = "random"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores drawn on the generator's device."""
        joints = hypotheses.joints
        scores = torch.rand(joints.shape[:2], generator=self.generator, device=self.generator.device)
        return scores.to(joints)


@dataclass(frozen=True)
class OracleCritic:
    """Minus the error against ground truth in metres, over the 24 joints, roots aligned (or Procrustes-aligned)."""

    metric: Literal["mpjpe", "pa_mpjpe"] = "mpjpe"

    needs_truth = True

    @property
    def name(self) -> str:
        """`oracle_` and the metric."""
        return f"oracle_{self.metric}"

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in metres; raises `InputError` where the annotation is absent or joints are not finite."""
        if example.annotation is None:
            raise InputError(f"critic {self.name!r} needs ground truth; the example has no annotation.")
        joints = hypotheses.joints[..., :NUM_JOINTS, :]
        truth = example.annotation.joints[:, None, :NUM_JOINTS]
        return -(mpjpe(joints, truth, root=0) if self.metric == "mpjpe" else pa_mpjpe(joints, truth))
