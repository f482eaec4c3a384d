"""Keypoints of many persons in our order, from named layouts of others."""

from __future__ import annotations

import numpy as np

from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.detection.keypoint_conventions import FLAT_CONVENTIONS, OPENPOSE_CONVENTIONS

_COCO_OF_JOINT = {
    "left_elbow": "left_elbow", "right_elbow": "right_elbow", "left_wrist": "left_wrist", "right_wrist": "right_wrist",
    "left_knee": "left_knee", "right_knee": "right_knee", "left_ankle": "left_ankle", "right_ankle": "right_ankle",
}  # fmt: skip
"""Keypoints that lie where a joint of the body does; shoulders and hips lie elsewhere."""


def in_our_columns(points: np.ndarray, convention: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, 27, 2) pixels and (N, 27) confidences of (N, points, 3) of a convention; those it lacks have confidence 0.

    Confidences are cut to 0 to 1: some files write 2 for a visible point.
    """
    layout = next(
        c for c in (*FLAT_CONVENTIONS, *OPENPOSE_CONVENTIONS) if c.name == convention and c.count == points.shape[1]
    )
    keypoints, confidence = np.zeros((len(points), 27, 2)), np.zeros((len(points), 27))
    for name, place in layout.place.items():
        ours = KEYPOINT_NAMES.index(name)
        keypoints[:, ours], confidence[:, ours] = points[:, place, :2], np.clip(points[:, place, 2], 0, 1)
    return keypoints, confidence


def joints_as_keypoints(points: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elbows, wrists, knees and ankles out of (N, 24 or 29, 2) joints in the image; `seen` (N, 24 or 29)."""
    keypoints, confidence = np.zeros((len(points), 27, 2)), np.zeros((len(points), 27))
    for joint, name in _COCO_OF_JOINT.items():
        row, ours = JOINT_NAMES.index(joint), KEYPOINT_NAMES.index(name)
        keypoints[:, ours] = np.where(seen[:, row, None], points[:, row], 0.0)
        confidence[:, ours] = seen[:, row]
    return keypoints, confidence
