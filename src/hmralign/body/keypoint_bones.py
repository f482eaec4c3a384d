"""The bone in whose axes a landmark offset is given."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.lbs import keypoints_from_fk
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.structures import InputError


def offset_bones(model: BodyModel) -> Int[Tensor, " 27"]:
    """Joint that carries most of each keypoint; for the shoulders the collar.

    A detector's shoulder is a place on the trunk: were its offset tied to the upper arm, which carries half of that
    keypoint's skin, it would turn away when the arm hangs. Raises InputError for a body without surface keypoints.
    """
    if model.keypoint_moments is None:
        raise InputError(f"Body {model.name!r} has no surface keypoints; load it with a keypoint regressor.")
    bones = model.keypoint_moments[..., 3].argmax(dim=1)
    trunk = {f"{side}_shoulder": f"{side}_collar" for side in ("left", "right")}
    for keypoint, joint in trunk.items():
        bones[KEYPOINT_NAMES.index(keypoint)] = JOINT_NAMES.index(joint)
    return bones.to(torch.int64)


def landmark_points(
    model: BodyModel,
    betas: Float[Tensor, "*#batch betas"],
    global_rotmats: Float[Tensor, "*#batch 24 3 3"],
    joints: Float[Tensor, "*#batch 29 3"],
    offsets: Float[Tensor, "27 3"] | None,
) -> Float[Tensor, "*#batch 27 3"]:
    """Keypoints where a detector puts them: the body's own, displaced in the axes of `offset_bones`."""
    points = keypoints_from_fk(model, betas, global_rotmats, joints)
    if offsets is None:
        return points
    bone = offset_bones(model)
    return points + (global_rotmats[..., bone, :, :] @ offsets.to(points)[..., None])[..., 0]
