"""A posed body carried over to another SMPL-shaped body: same rotations, same limb lengths, same place.

    rotations  as they are: zero pose and axes are shared by all SMPL-shaped bodies
    betas      those whose limbs are as long as the given ones, drawn towards the mean shape
    transl     puts the joints that mean the same on every skeleton onto the given ones, least squares

Betas minimise `sum_s ((l_s(betas) - l_s) / sigma)^2 + |betas|^2`, the maximum a posteriori shape for unit-normal betas;
`l_s` are lengths, linearised at each of a few Gauss-Newton steps. Only spans between joints that sit at the same places
in all skeletons count: limbs, the width of the shoulders, trunk and head. Pelvis, hip width and spine are conventions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from hmralign.structures import BodyParams

LENGTH_SIGMA = 0.005
"""Metres by which a span of one skeleton may differ from that of another that fits the same person.

On a free body scaled by 0.93 or 1.08, joints then agree to 6 mm in the mean with betas of ordinary size; at 1 mm the
betas grow beyond anybody's for no better agreement.
"""

_STEPS = 6

_LIMB_SPANS = (
    ("hip", "knee"), ("knee", "ankle"), ("ankle", "big_toe_tip"), ("shoulder", "elbow"), ("elbow", "wrist"),
    ("wrist", "middle_tip"),
)  # fmt: skip
_SPANS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    *(((f"{side}_{a}",), (f"{side}_{b}",)) for side in ("left", "right") for a, b in _LIMB_SPANS),
    (("left_shoulder",), ("right_shoulder",)),
    (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")),
    (("left_shoulder", "right_shoulder"), ("head_top",)),
)
"""From the middle of some joints to the middle of others."""

SHARED_JOINTS = tuple(sorted({JOINT_NAMES.index(name) for span in _SPANS for end in span for name in end}))
"""Joints that mean the same place of a person in every skeleton: the ends of the spans."""

ROTATING_SPANS = tuple(
    row for row, span in enumerate(_SPANS) if all(JOINT_NAMES.index(name) < NUM_JOINTS for end in span for name in end)
)
"""Numbers of the spans between joints that rotate: what is known of a skeleton without leaves."""

BONE_SPANS = tuple(
    row
    for row in ROTATING_SPANS
    if len(_SPANS[row][1]) == 1
    and PARENTS[JOINT_NAMES.index(_SPANS[row][1][0])] == JOINT_NAMES.index(_SPANS[row][0][0])
)
"""Those of them that are bones, equally long in every pose: thighs, shanks, upper and lower arms."""


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # what is cached must serve autograd too
def _span_matrix() -> Tensor:
    """(spans, 29): far end minus near end as a combination of the joints."""
    matrix = torch.zeros(len(_SPANS), len(JOINT_NAMES), dtype=torch.float64)
    for row, (near, far) in enumerate(_SPANS):
        for names, sign in ((near, -1.0), (far, 1.0)):
            for name in names:
                matrix[row, JOINT_NAMES.index(name)] += sign / len(names)
    return matrix


def span_lengths(
    rest_joints: Float[Tensor, "*batch joints 3"], spans: Sequence[int] | None = None
) -> Float[Tensor, "*batch spans"]:
    """Lengths of limbs, shoulders, trunk and head of a body at rest, metres; of all spans, or those of these numbers.

    The first 24 joints are enough for `ROTATING_SPANS`, and posed ones for `BONE_SPANS`.
    """
    matrix = _span_matrix() if spans is None else _span_matrix()[list(spans)]
    return (matrix[:, : rest_joints.shape[-2]].to(rest_joints) @ rest_joints).norm(dim=-1)


def fit_betas(
    target: BodyModel, lengths: Float[Tensor, "*batch spans"], spans: Sequence[int] | None = None
) -> Float[Tensor, "*batch betas"]:
    """Betas with which `target` has spans of these lengths, as far as its shapes allow.

    Lengths are of all spans, or of those of these numbers: the others then follow from the likeliest shape.
    """
    double = lengths.double()
    matrix = (_span_matrix() if spans is None else _span_matrix()[list(spans)]).to(double)
    template = matrix @ target.J_template.to(double)  # (S, 3)
    dirs = (matrix @ target.J_shapedirs.to(double).flatten(1)).unflatten(1, (3, -1))  # (S, 3, betas)
    betas = double.new_zeros(*lengths.shape[:-1], target.num_betas)
    prior = torch.eye(target.num_betas, dtype=double.dtype, device=double.device)
    for _ in range(_STEPS):
        offset = template + (dirs @ betas[..., None, :, None])[..., 0]
        current = offset.norm(dim=-1)
        jacobian = (offset[..., None] * dirs).sum(-2) / current[..., None] / LENGTH_SIGMA
        residual = (double - current) / LENGTH_SIGMA
        step = (jacobian.mT @ residual[..., None])[..., 0] - betas
        betas = betas + torch.linalg.solve(jacobian.mT @ jacobian + prior, step)
    return betas.to(lengths)


def retarget(source: BodyModel, body: BodyParams, target: BodyModel) -> BodyParams:
    """Parameters of `target` that stand for the same posed person as `body` does for `source`; any frame, any batch."""
    betas = fit_betas(target, span_lengths(rest_joints(source, body.betas)))
    moved = BodyParams(body.global_orient, body.body_pose, betas, torch.zeros_like(body.transl))
    shared = list(SHARED_JOINTS)
    gap = posed_joints(source, body)[..., shared, :] - posed_joints(target, moved)[..., shared, :]
    return moved.with_transl(gap.mean(-2))
