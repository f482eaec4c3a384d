"""What an encoder should not have to work out: limbs in the image, and keypoints without the box.

A residual MLP trained for the same time lifts 2D keypoints clearly better when it is given, beside the coordinates,
the image vector of each limb, its length and its direction: products of two visibilities and quotients are what it
finds hard (docs/results/model_study.md). Keypoints scaled by what is seen, rather than by a box that grows with
every raised arm, help a little more.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS

_SIDES = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "index_knuckle"), ("shoulder", "hip"), ("hip", "knee"),
        ("knee", "ankle"), ("ankle", "big_toe"), ("ankle", "heel"),
    )
]  # fmt: skip
_ACROSS = [
    ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"), ("nose", "left_shoulder"),
    ("nose", "right_shoulder"), ("nose", "left_ear"), ("nose", "right_ear"), ("left_ear", "right_ear"),
    ("left_eye", "right_eye"),
]  # fmt: skip
LIMBS = [tuple(KEYPOINT_NAMES.index(name) for name in pair) for pair in (*_SIDES, *_ACROSS)]
"""Pairs of keypoints whose difference is a feature."""

_STABLE = 17
"""The keypoints that set the scale: COCO's, without feet and knuckles, which many detectors do not give."""

LIMB_FEATURES = len(LIMBS) * 5 + NUM_KEYPOINTS * 2 + 1


def limb_features(
    plane: Float[Tensor, "*batch 27 2"], confidence: Float[Tensor, "*batch 27"]
) -> Float[Tensor, "*batch features"]:
    """Per limb: vector, length, direction, zero unless both ends were seen; then rescaled keypoints and their scale.

    `plane` are keypoints in the plane of the person frame, zero where the confidence is.
    """
    seen = (confidence > 0).to(plane)[..., None]  # (*B, 27, 1)
    start, end = [a for a, _ in LIMBS], [b for _, b in LIMBS]
    limb = (plane[..., end, :] - plane[..., start, :]) * seen[..., start, :] * seen[..., end, :]  # (*B, 24, 2)
    length = limb.norm(dim=-1, keepdim=True)  # (*B, 24, 1)
    direction = limb / (length + 0.02)  # 2 % of half a box: below that a direction is noise
    rescaled, scale = rescaled_keypoints(plane, confidence)
    return torch.cat([limb.flatten(-2), length.flatten(-2), direction.flatten(-2), rescaled.flatten(-2), scale], -1)


def rescaled_keypoints(
    plane: Float[Tensor, "*batch 27 2"], confidence: Float[Tensor, "*batch 27"]
) -> tuple[Float[Tensor, "*batch 27 2"], Float[Tensor, "*batch 1"]]:
    """Keypoints about their weighted centre, in units of their weighted spread; and the log of that unit.

    Keypoints of confidence 0 are zero.
    """
    seen, weight = (confidence > 0).to(plane)[..., None], confidence[..., None]
    w, points = weight[..., :_STABLE, :], plane[..., :_STABLE, :]  # (*B, 17, 1), (*B, 17, 2)
    total = w.sum(-2, keepdim=True).clamp(min=1e-3)  # (*B, 1, 1)
    centre = (points * w).sum(-2, keepdim=True) / total  # (*B, 1, 2)
    spread = ((points - centre).square().sum(-1, keepdim=True) * w).sum(-2, keepdim=True) / total
    unit = spread.sqrt().clamp(min=0.1)
    return ((plane - centre) / unit * seen).clamp(-4, 4), unit[..., 0].log()
