"""The two ends of every audit: chance and truth. A critic is worth what it gains between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.critics.draws import Generators, drawn
from hmralign.critics.setting import CriticSetting
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, pa_pve, pve
from hmralign.structures import Annotation, Example, Hypotheses, InputError

OracleMetric = Literal["mpjpe", "pa_mpjpe", "pve", "pa_pve"]

_BODIES_AT_ONCE = 64


@dataclass(frozen=True)
class RandomCritic:
    """Uniform scores in [0, 1): what ranking by chance gives. Each call draws anew from the generators."""

    generators: Generators

    name = "random"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores, whoever is judged. Raises InputError as `drawn`."""
        return drawn(torch.rand, hypotheses.joints.shape[:2], self.generators).to(hypotheses.joints)


@dataclass(frozen=True)
class OracleCritic:
    """Minus the error against ground truth in metres.

    `mpjpe` is over the 24 joints and `pve` over the vertices, both with the pelvis joints on one another; the `pa_`
    forms align by a similarity of the very points that are measured. Vertices need `body`, the one that truth and
    hypotheses are parameters of; raises `InputError` where it is missing.
    """

    metric: OracleMetric = "mpjpe"
    body: BodyModel | None = None

    needs_truth = True

    def __post_init__(self) -> None:
        if self.metric in ("pve", "pa_pve") and self.body is None:
            raise InputError(f"critic {self.name!r} measures vertices and has no body model; expected one.")

    @property
    def name(self) -> str:
        """`oracle_` and the metric."""
        return f"oracle_{self.metric}"

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in metres; raises `InputError` where the annotation is absent or joints are not finite."""
        if example.annotation is None:
            raise InputError(f"critic {self.name!r} needs ground truth; the example has no annotation.")
        if self.body is not None and self.metric in ("pve", "pa_pve"):
            return _minus_vertex_error(self.body, hypotheses, example.annotation, aligned=self.metric == "pa_pve")
        joints = hypotheses.joints[..., :NUM_JOINTS, :]
        truth = example.annotation.joints[:, None, :NUM_JOINTS]
        return -(mpjpe(joints, truth, root=0) if self.metric == "mpjpe" else pa_mpjpe(joints, truth))


@dataclass(frozen=True)
class WeighedOracleCritic:
    """Minus a weighed sum of three errors against ground truth, in metres.

    The defaults are the reward of the public GPA code on its labelled sets (3DPW and H36M, over the joints of its own
    protocol): -(1.2 MPJPE + 2.0 PA-MPJPE + 0.7 PVE). Here the errors are those of `OracleCritic`.
    """

    body: BodyModel
    mpjpe: float = 1.2
    pa_mpjpe: float = 2.0
    pve: float = 0.7

    name = "oracle_gpa"
    needs_truth = True

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in metres; raises `InputError` as `OracleCritic`."""
        by_metric: dict[OracleMetric, float] = {"mpjpe": self.mpjpe, "pa_mpjpe": self.pa_mpjpe, "pve": self.pve}
        scores = [w * OracleCritic(metric, self.body)(hypotheses, example) for metric, w in by_metric.items()]
        return torch.stack(scores).sum(0)


def _minus_vertex_error(
    body: BodyModel, hypotheses: Hypotheses, truth: Annotation, *, aligned: bool
) -> Float[Tensor, "person hyp"]:
    """One person after the other, some bodies at a time: a hundred meshes of a hundred people do not fit in memory."""
    scores = torch.zeros_like(hypotheses.joints[..., 0, 0])
    for person in range(len(scores)):
        target = vertices(body, truth.body[person : person + 1])
        for start in range(0, hypotheses.num_hypotheses, _BODIES_AT_ONCE):
            part = slice(start, start + _BODIES_AT_ONCE)
            mesh = vertices(body, hypotheses.body[person][part])
            if aligned:
                error = pa_pve(mesh, target)
            else:
                root = hypotheses.joints[person, part, 0]
                error = pve(mesh, target, root, truth.joints[person : person + 1, 0])
            scores[person, part] = -error
    return scores


def make_oracle(setting: CriticSetting) -> OracleCritic:
    """By MPJPE."""
    return OracleCritic()


def make_oracle_pa(setting: CriticSetting) -> OracleCritic:
    """By PA-MPJPE."""
    return OracleCritic("pa_mpjpe")


def make_oracle_pve(setting: CriticSetting) -> OracleCritic:
    """By the error of vertices."""
    return OracleCritic("pve", setting.body)


def make_oracle_gpa(setting: CriticSetting) -> WeighedOracleCritic:
    """By the reward that the public GPA code has on labelled sets."""
    return WeighedOracleCritic(setting.body)


def make_random(setting: CriticSetting) -> RandomCritic:
    """Scores that mean nothing, a control."""
    return RandomCritic(setting.generators("random"))
