"""The parts of a body that people speak of, as joints (how sure is it) and keypoints (how well was it seen)."""

from __future__ import annotations

from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES


def _limb(joints: str, keypoints: str, side: str = "") -> tuple[tuple[int, ...], tuple[int, ...]]:
    def indices(names: str, table: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(table.index(side + name) for name in names.split())

    return indices(joints, JOINT_NAMES), indices(keypoints, KEYPOINT_NAMES)


_ARM = "elbow wrist hand", "elbow wrist index_knuckle pinky_knuckle"
_LEG = "knee ankle foot", "knee ankle heel big_toe small_toe"

LIMBS = {
    "Head": _limb("head head_top", "nose left_eye right_eye left_ear right_ear"),
    "Shoulders": _limb("left_shoulder right_shoulder", "left_shoulder right_shoulder"),
    "Left arm": _limb(*_ARM, side="left_"),
    "Right arm": _limb(*_ARM, side="right_"),
    "Hips": _limb("left_hip right_hip", "left_hip right_hip"),
    "Left leg": _limb(*_LEG, side="left_"),
    "Right leg": _limb(*_LEG, side="right_"),
}
"""Name -> (indices of joints, indices of keypoints)."""
