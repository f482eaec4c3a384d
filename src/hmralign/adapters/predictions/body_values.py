"""Values of one predicted body, in the shapes in which systems give them."""

from __future__ import annotations

import numpy as np

from hmralign.adapters.faults import WrongRecordError
from hmralign.adapters.fields import Fields, rotvecs_of
from hmralign.adapters.labels import intrinsics
from hmralign.body.skeleton import NUM_JOINTS


def split_pose(body: Fields, joints: int = 23, *, root: str = "global_orient", rest: str = "body_pose") -> np.ndarray:
    """(24, 3) rotation vectors of a root and so many joints, each as vectors or matrices; hands that lack are zero.

    Raises WrongRecordError for another number of joints, which says what it would be.
    """
    pose = np.zeros((NUM_JOINTS, 3))
    pose[:1] = _vectors(body, root, 1)
    pose[1 : 1 + joints] = _vectors(body, rest, joints)
    return pose


def _vectors(body: Fields, key: str, joints: int) -> np.ndarray:
    found = body.numbers(key)
    if found.size == 9 * joints and found.shape[-2:] == (3, 3):
        return rotvecs_of(found.reshape(joints, 3, 3), key)
    if found.size == 3 * joints:
        return found.reshape(joints, 3)
    other = {69: "SMPL's 23 joints", 207: "SMPL's 23 joints", 63: "21 joints of SMPL-X", 189: "21 joints of SMPL-X"}
    what = f", which are {other[found.size]}" if found.size in other and joints > 1 else ""
    raise WrongRecordError(f"'{key}' has the shape {found.shape}{what}; expected {joints} rotations")


def camera_of(focal: float, size: np.ndarray) -> np.ndarray:
    """(3, 3) of a focal length, pixels, and the principal point in the middle of an image (width, height)."""
    return intrinsics(np.array([focal, focal]), np.asarray(size) / 2)


def image_name(text: str) -> str:
    """A path as a file gives it, with slashes; it is compared with other names and never followed."""
    return text.replace("\\", "/")
