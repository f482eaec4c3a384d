"""Joints of a crop (pixels, and depth from the pelvis) lifted into the camera; how far away the pelvis is.

    X_j = (z + d_j) (x_j, y_j, 1)     (x_j, y_j): pixel of joint j through the inverse of K; z: depth of the pelvis

Source: Li et al. 2021 (HybrIK), whose joints are u, v and relative depth. Public evaluations take z from ground truth.
Here it may be given; else it is where the limbs are as long as the body's:

    z = argmin sum_b (|z A_b + C_b| - L_b)^2     A_b, C_b: differences of (x, y, 1) and of d (x, y, 1) over bone b

L_b are lengths of bones at rest, known from the shape. The start is the closed form for lateral lengths.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import NUM_ALL_JOINTS, PARENTS
from hmralign.geometry.placement import MIN_DEPTH

_STEPS = 10
"""Gauss-Newton steps; from the closed start the last ones move a person by less than a millimetre."""

FARTHEST = 200.0
"""Metres; joints that all fall on one pixel are there."""

_ABOVE = list(PARENTS[1:])


def bone_lengths(rest_joints: Float[Tensor, "*batch 29 3"]) -> Float[Tensor, "*batch 28"]:
    """Length of the bone that ends in each joint but the first, metres."""
    return (rest_joints[..., 1:, :] - rest_joints[..., _ABOVE, :]).norm(dim=-1)


def root_depth(
    tangents: Float[Tensor, "*batch 29 2"], depth: Float[Tensor, "*batch 29"], lengths: Float[Tensor, "*batch 28"]
) -> Float[Tensor, "*batch"]:
    """Depth of the pelvis at which bones have these lengths, least squares, metres.

    `tangents` are x / z and y / z of the joints' rays, `depth` metres from the pelvis. No joint comes nearer than
    `MIN_DEPTH`.
    """
    ray = torch.cat([tangents, torch.ones_like(tangents[..., :1])], dim=-1)  # (*B, 29, 3)
    offset = ray * depth[..., None]
    A = ray[..., 1:, :] - ray[..., _ABOVE, :]  # (*B, 28, 3)
    C = offset[..., 1:, :] - offset[..., _ABOVE, :]
    nearest = MIN_DEPTH - depth.amin(-1)
    lateral = (lengths.square() - C[..., 2].square()).clamp(min=0).sum(-1)
    z = _bounded((lateral / A.square().sum((-2, -1)).clamp(min=1e-12)).sqrt(), nearest)
    for _ in range(_STEPS):
        bone = z[..., None, None] * A + C
        length = bone.norm(dim=-1).clamp(min=1e-6)
        slope = (bone * A).sum(-1) / length
        step = (slope * (length - lengths)).sum(-1) / slope.square().sum(-1).clamp(min=1e-12)
        # A step never halves or doubles the distance more than once: far from the solution the line is no model.
        z = _bounded(torch.minimum(torch.maximum(z - step, z / 2), 2 * z), nearest)
    return z


def lift(
    tangents: Float[Tensor, "*batch 29 2"], depth: Float[Tensor, "*batch 29"], root: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 29 3"]:
    """Joints in the camera, metres, whose pelvis has that depth."""
    z = (depth + root[..., None])[..., None]
    return torch.cat([tangents * z, z], dim=-1)


def _bounded(z: Float[Tensor, "*batch"], nearest: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return torch.maximum(z.clamp(max=FARTHEST), nearest)


assert len(_ABOVE) == NUM_ALL_JOINTS - 1
