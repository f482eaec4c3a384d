"""The 2D evidence of a person, in the units of the update: rays, their noise, and how a body predicts them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

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


@dataclass(frozen=True)
class _Parts:
    """The P pairs of a keypoint and a joint that carries part of it, and the R pairs of one and a joint that moves it.

    Few of the 27 x 24: a keypoint is carried by one to seven joints, and moved by those above them.
    """

    keypoint: Int[Tensor, " pair"]
    joint: Int[Tensor, " pair"]
    share: Float[Tensor, "pair 1"]
    template: Float[Tensor, "pair 3"]
    """From the joint, mean shape, times the share."""
    dirs: Float[Tensor, "pair 3 betas"]
    is_bone: Float[Tensor, "pair 1"]
    """1 where the keypoint's offset is in the axes of this joint."""
    to_keypoint: Float[Tensor, "27 pair"]
    """Sums the parts of each keypoint."""
    moved: Int[Tensor, " lever"]
    mover: Int[Tensor, " lever"]
    below: Float[Tensor, "lever pair"]
    """Sums those parts of the moved keypoint that hang below the mover."""


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is cached must serve autograd too
def _parts_of(body: BodyModel) -> _Parts:
    assert body.keypoint_moments is not None and body.keypoint_moment_dirs is not None
    share, bone = body.keypoint_moments[..., 3], one_hot(offset_bones(body), NUM_JOINTS)  # (27, 24) each
    # Without values, on the `meta` device, any joint may carry any keypoint.
    carries = ((share != 0) | (bone != 0)).cpu() if share.device.type != "meta" else torch.ones(share.shape).bool()
    keypoint, joint = carries.nonzero(as_tuple=True)
    below = _subtree()[:, joint].bool()  # (24, P): below joint j
    moves = torch.stack([below[:, keypoint == k].any(1) for k in range(len(share))])  # (27, 24)
    moved, mover = moves.nonzero(as_tuple=True)
    own = share[keypoint, joint][:, None]
    there = (lambda t: t.to(share.device)) if share.device.type != "meta" else (lambda t: t.to("meta"))
    return _Parts(
        keypoint=there(keypoint),
        joint=there(joint),
        share=own,
        template=body.keypoint_moments[keypoint, joint, :3] - own * body.J_template[joint],
        dirs=body.keypoint_moment_dirs[keypoint, joint, :3] - own[..., None] * body.J_shapedirs[joint],
        is_bone=bone[keypoint, joint][:, None].to(share),
        to_keypoint=there(one_hot(keypoint, len(share)).mT).to(share),
        moved=there(moved),
        mover=there(mover),
        below=there(below[mover] & (keypoint == moved[:, None])).to(share),
    )


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
    parts = _parts_of(body)
    rest = rest_joints(body, betas)  # (*B, 29, 3)
    G, joints = forward_kinematics(rest, rotmats, body.parents)  # (*B, 24, 3, 3), (*B, 29, 3)
    local = parts.template + (betas @ parts.dirs.flatten(0, 1).mT).unflatten(-1, (-1, 3))  # (*B, P, 3)
    local = local + parts.is_bone * offsets.to(local)[parts.keypoint]
    turn = G[..., parts.joint, :, :]  # (*B, P, 3, 3)
    # what each joint contributes to its keypoints, in the axes of the person frame
    carried = (turn @ local[..., None])[..., 0] + parts.share * joints[..., parts.joint, :]  # (*B, P, 3)
    points = parts.to_keypoint @ carried  # (*B, 27, 3)
    if not derivatives:
        return Prediction(points, None, None)
    lever = parts.below @ carried - (parts.below @ parts.share) * joints[..., parts.mover, :]  # (*B, R, 3)
    return Prediction(points, _by_turns(G, lever, parts), _by_shape(body, G, turn, parts))


def _by_turns(
    G: Float[Tensor, "*batch 24 3 3"], lever: Float[Tensor, "*batch lever 3"], parts: _Parts
) -> Float[Tensor, "*batch 27 3 72"]:
    """Columns of (G delta) x lever by delta: cross products of G's columns with the levers, written out.

    `torch.linalg.cross` on the broadcast tensors takes several times as long.
    """
    x, y, z = G[..., parts.mover, :, :].unbind(-2)  # (*B, R, 3): rows of G, last axis its columns
    u, v, w = (c[..., None] for c in lever.unbind(-1))  # (*B, R, 1)
    columns = torch.stack([y * w - z * v, z * u - x * w, x * v - y * u], dim=-2)  # (*B, R, 3, 3)
    found = columns.new_zeros(*columns.shape[:-3], len(parts.to_keypoint), NUM_JOINTS, 3, 3)
    found[..., parts.moved, parts.mover, :, :] = columns
    return found.transpose(-3, -2).flatten(-2)  # (*B, 27, 3, 24, 3), the last two in one


def _by_shape(
    body: BodyModel, G: Float[Tensor, "*batch 24 3 3"], turn: Float[Tensor, "*batch pair 3 3"], parts: _Parts
) -> Float[Tensor, "*batch 27 3 betas"]:
    """Derivative by the shape: joints and parts are linear in it, so the shape directions are posed like bodies."""
    above = list(body.parents[1:NUM_JOINTS])
    bones = body.J_shapedirs[1:NUM_JOINTS] - body.J_shapedirs[above]  # (23, 3, betas)
    turned = (G[..., above, :, :] @ bones).flatten(-2)  # (*B, 23, 3 * betas)
    joints = _BELOW[1:].mT.to(turned) @ turned + body.J_shapedirs[0].flatten()  # (*B, 24, 3 * betas)
    posed = (turn @ parts.dirs).flatten(-2) + parts.share * joints[..., parts.joint, :]  # (*B, P, 3 * betas)
    return (parts.to_keypoint @ posed).unflatten(-1, (3, -1))
