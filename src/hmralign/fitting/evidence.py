"""The 2D evidence of a person, in the units of the update: rays, their noise, and how a body predicts them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.keypoint_bones import offset_bones
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS, PARENTS

SIGMA_EDGES = (0.3, 0.6, 0.8, 0.95)
"""Confidence edges between which the noise of a keypoint was measured."""


@dataclass(frozen=True)
class KeypointNoise:
    """What is known about a detector: `sigma` (27, 5) in shares of body height per confidence bin, `offsets` metres.

    `offsets` (27, 3) say, in the axes of each keypoint's main bone, where the detector puts a landmark relative to
    the body's own keypoint.
    """

    sigma: Float[Tensor, "27 bins"]
    offsets: Float[Tensor, "27 3"]

    def of(self, confidence: Float[Tensor, "*batch 27"]) -> Float[Tensor, "*batch 27"]:
        """Standard deviation per axis at these confidences; infinite where nothing was observed."""
        edges = torch.tensor(SIGMA_EDGES, device=confidence.device)
        bins = torch.bucketize(confidence.contiguous(), edges)
        sigma = self.sigma.to(confidence.device).expand(*confidence.shape, -1).gather(-1, bins[..., None])[..., 0]
        return torch.where(confidence > 0, sigma, torch.inf)


@dataclass(frozen=True)
class Evidence:
    """Rays of the keypoints (x / z, y / z in the person frame) and their confidence."""

    tangents: Float[Tensor, "person 27 2"]
    confidence: Float[Tensor, "person 27"]
    noise: KeypointNoise


def _subtree() -> Float[Tensor, "24 24"]:
    """Entry (j, m) is 1 where joint m moves with joint j."""
    below = torch.zeros(NUM_JOINTS, NUM_JOINTS)
    for m in range(NUM_JOINTS):
        j = m
        while j >= 0:
            below[j, m] = 1.0
            j = PARENTS[j]
    return below


_BELOW = _subtree()


@dataclass(frozen=True)
class Prediction:
    """Keypoints of a posed body (pelvis at the origin) and their derivatives."""

    points: Float[Tensor, "*batch 27 3"]
    d_rotation: Float[Tensor, "*batch 27 3 72"] | None
    d_betas: Float[Tensor, "*batch 27 3 betas"] | None


def predict(
    body: BodyModel,
    rotmats: Float[Tensor, "*batch 24 3 3"],
    betas: Float[Tensor, "*batch betas"],
    offsets: Float[Tensor, "27 3"],
    *,
    derivatives: bool,
) -> Prediction:
    """Landmarks of a body; derivatives in closed form with respect to a right turn exp(delta_j) of every joint.

    A turn of joint j moves what hangs below it about joint j: d p_k = (G_j delta_j) x (part of p_k below j).
    """
    assert body.keypoint_moments is not None and body.keypoint_moment_dirs is not None
    rest = rest_joints(body, betas)  # (*B, 29, 3)
    G, joints = forward_kinematics(rest, rotmats, body.parents)  # (*B, 24, 3, 3), (*B, 29, 3)
    share = body.keypoint_moments[..., 3]  # (27, 24)
    dirs = body.keypoint_moment_dirs[..., :3, :]  # (27, 24, 3, betas)
    moments = body.keypoint_moments[..., :3] + (betas @ dirs.flatten(0, 2).mT).unflatten(-1, dirs.shape[:3])
    local = moments - share[..., None] * rest[..., None, :NUM_JOINTS, :]  # (*B, 27, 24, 3)
    bone = torch.nn.functional.one_hot(offset_bones(body), NUM_JOINTS).to(local)  # (27, 24)
    local = local + bone[..., None] * offsets.to(local)[:, None, :]
    q = joints[..., None, :NUM_JOINTS, :]  # (*B, 1, 24, 3)
    # parts: what joint j contributes to keypoint k, in the axes of the person frame
    parts = (G[..., None, :, :, :] @ local[..., None])[..., 0] + share[..., None] * q  # (*B, 27, 24, 3)
    points = parts.sum(-2)  # (*B, 27, 3)
    if not derivatives:
        return Prediction(points, None, None)
    below = _BELOW.to(points)
    lever = below @ parts - (share @ below.mT)[..., None] * q  # (*batch, 27, 24, 3)
    d_rotation = _turn_columns(G, lever)
    return Prediction(points, d_rotation, _shape_derivative(body, G, share, dirs))


def _turn_columns(
    G: Float[Tensor, "*batch 24 3 3"], lever: Float[Tensor, "*batch 27 24 3"]
) -> Float[Tensor, "*batch 27 3 72"]:
    """Columns of (G delta) x lever by delta: cross products of G's columns with the levers, written out.

    `torch.linalg.cross` on the broadcast tensors takes several times as long.
    """
    x, y, z = (row[..., None, :, :] for row in G.unbind(-2))  # (*batch, 1, 24, 3): rows of G, last axis its columns
    u, v, w = (c[..., None] for c in lever.unbind(-1))  # (*batch, 27, 24, 1)
    columns = torch.stack([y * w - z * v, z * u - x * w, x * v - y * u], dim=-3)  # (*B, 27, 3, 24, 3)
    return columns.flatten(-2)


def _shape_derivative(
    body: BodyModel, G: Float[Tensor, "*batch 24 3 3"], share: Tensor, dirs: Tensor
) -> Float[Tensor, "*batch 27 3 betas"]:
    """Derivative by the shape: joints and moments are linear in it, so the shape directions are posed like bodies."""
    bones = body.J_shapedirs[1:] - body.J_shapedirs[list(body.parents[1:])]
    turned = G[..., list(body.parents[1:]), :, :] @ bones  # (*B, 28, 3, betas)
    joints = [torch.zeros_like(turned[..., 0, :, :]) + body.J_shapedirs[0]]
    for j in range(1, NUM_JOINTS):
        joints.append(joints[body.parents[j]] + turned[..., j - 1, :, :])
    moved = torch.stack(joints, dim=-3)  # (*B, 24, 3, betas)
    local = dirs - share[..., None, None] * body.J_shapedirs[:NUM_JOINTS]  # (27, 24, 3, betas)
    by_bone = G.flatten(-3).unflatten(-1, (NUM_JOINTS, 3, 3)).movedim(-3, -2).flatten(-2)  # (*b, 3, 24*3)
    posed = by_bone[..., None, :, :] @ local.flatten(1, 2)  # (*B, 27, 3, betas)
    return posed + (share @ moved.flatten(-2)).unflatten(-1, (3, -1))
