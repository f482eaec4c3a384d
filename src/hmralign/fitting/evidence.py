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
from hmralign.body.skeleton import NUM_JOINTS, NUM_KEYPOINTS, PARENTS

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
    mover: Int[Tensor, " lever"]
    below: Float[Tensor, "lever pair"]
    """Sums those parts of the moved keypoint that hang below the mover."""
    columns: Int[Tensor, " entry"]
    """Entry (keypoint, axis, turn) of the derivative -> its place among (axis, column, lever); the last is a zero."""
    by_shape: Float[Tensor, "72 shapes"]
    """(joint, column) x (keypoint, betas): the rest of a keypoint is linear in the shape, and joints turn it."""
    root_by_shape: Float[Tensor, "27 3 betas"]
    """What no joint turns: where the pelvis is."""


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is cached must serve autograd too
def _parts_of(body: BodyModel) -> _Parts:
    assert body.keypoint_moments is not None and body.keypoint_moment_dirs is not None
    share, bone = body.keypoint_moments[..., 3], one_hot(offset_bones(body), NUM_JOINTS)  # (27, 24) each
    # Without values, on the `meta` device, any joint may carry any keypoint.
    carries = ((share != 0) | (bone != 0)).cpu() if share.device.type != "meta" else torch.ones(share.shape).bool()
    keypoint, joint = carries.nonzero(as_tuple=True)
    below = _BELOW[:, joint].bool()  # (24, P): below joint j
    moves = torch.stack([below[:, keypoint == k].any(1) for k in range(len(share))])  # (27, 24)
    moved, mover = moves.nonzero(as_tuple=True)
    own = share[keypoint, joint][:, None]
    dirs = body.keypoint_moment_dirs[keypoint, joint, :3] - own[..., None] * body.J_shapedirs[joint]
    hangs = share @ _BELOW.mT.to(share)  # (27, 24): how much of a keypoint moves with each joint
    above, bones = list(body.parents[1:NUM_JOINTS]), body.J_shapedirs[1:NUM_JOINTS]
    by_shape = share.new_zeros(NUM_JOINTS, len(share), *dirs.shape[1:])  # (24, 27, 3, betas)
    by_shape = by_shape.index_put((joint.to(share.device), keypoint.to(share.device)), dirs)
    by_bone = hangs[:, 1:].mT[..., None, None] * (bones - body.J_shapedirs[above])[:, None]  # (23, 27, 3, betas)
    by_shape = by_shape.index_add(0, torch.tensor(above, device=share.device), by_bone)
    return _Parts(
        keypoint=keypoint.to(share.device),
        joint=joint.to(share.device),
        share=own,
        template=body.keypoint_moments[keypoint, joint, :3] - own * body.J_template[joint],
        dirs=dirs,
        is_bone=bone[keypoint, joint][:, None].to(share),
        to_keypoint=one_hot(keypoint, len(share)).mT.to(share),
        mover=mover.to(share.device),
        below=(below[mover] & (keypoint == moved[:, None])).to(share),
        columns=_entries(moved, mover).to(share.device),
        by_shape=by_shape.transpose(1, 2).flatten(2).flatten(0, 1),
        root_by_shape=hangs[:, :1, None] * body.J_shapedirs[0],
    )


def _entries(moved: Int[Tensor, " lever"], mover: Int[Tensor, " lever"]) -> Int[Tensor, " entry"]:
    levers = len(moved)
    places = torch.full((NUM_KEYPOINTS, 3, NUM_JOINTS, 3), 9 * levers)
    for axis in range(3):
        for column in range(3):
            places[moved, axis, mover, column] = (3 * axis + column) * levers + torch.arange(levers)
    return places.flatten()


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
    # One product for the whole batch, not one for each body.
    hanging = carried.mT @ parts.below.mT  # (*B, 3, R)
    lever = hanging - (parts.below @ parts.share)[:, 0] * joints.mT[..., parts.mover]
    return Prediction(points, _by_turns(G, lever, parts), _by_shape(G, parts))


def _by_turns(
    G: Float[Tensor, "*batch 24 3 3"], lever: Float[Tensor, "*batch 3 lever"], parts: _Parts
) -> Float[Tensor, "*batch 27 3 72"]:
    """Columns of (G delta) x lever by delta: cross products of G's columns with the levers, written out.

    The levers are the last axis: products over axes of length 3 take several times as long.
    """
    x, y, z = G.movedim(-3, -1)[..., parts.mover].unbind(-3)  # (*B, 3, R): rows of G, first axis its columns
    u, v, w = lever[..., None, :].unbind(-3)  # (*B, 1, R)
    columns = torch.stack([y * w - z * v, z * u - x * w, x * v - y * u], dim=-3).flatten(-3)  # (*B, 9 R)
    columns = torch.nn.functional.pad(columns, (0, 1))
    return columns.index_select(-1, parts.columns).unflatten(-1, (NUM_KEYPOINTS, 3, -1))


def _by_shape(G: Float[Tensor, "*batch 24 3 3"], parts: _Parts) -> Float[Tensor, "*batch 27 3 betas"]:
    """Derivative by the shape: joints and parts are linear in it, so the shape directions are posed like bodies."""
    turned = G.transpose(-3, -2).flatten(-2) @ parts.by_shape  # (*B, 3, 27 * betas)
    return turned.unflatten(-1, (NUM_KEYPOINTS, -1)).transpose(-3, -2) + parts.root_by_shape
