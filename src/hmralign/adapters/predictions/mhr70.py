"""The 70 keypoints of SAM 3D Body, by name and place; which of ours they are, and where SMPL's joints are about them.

Source: the names in `metadata/mhr70.py` of its public code (MHR and its keypoints are Apache-2.0).
"""

from __future__ import annotations

import numpy as np

from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, NUM_JOINTS

COUNT = 70

PLACES: dict[str, int] = {
    "nose": 0, "left_eye": 1, "right_eye": 2, "left_ear": 3, "right_ear": 4, "left_shoulder": 5, "right_shoulder": 6,
    "left_elbow": 7, "right_elbow": 8, "left_hip": 9, "right_hip": 10, "left_knee": 11, "right_knee": 12,
    "left_ankle": 13, "right_ankle": 14, "left_big_toe": 15, "left_small_toe": 16, "left_heel": 17,
    "right_big_toe": 18, "right_small_toe": 19, "right_heel": 20, "right_wrist": 41, "left_wrist": 62,
    "right_index_knuckle": 28, "right_middle_knuckle": 32, "right_pinky_knuckle": 40,
    "left_index_knuckle": 49, "left_middle_knuckle": 53, "left_pinky_knuckle": 61, "neck": 69,
}  # fmt: skip
"""Those that are read. A knuckle is the third joint of a finger from its tip. The order is not COCO's: hips come before
wrists, and right hands before left ones."""

_RISE = 0.12
"""The pelvis lies above the middle of the hips, by this share of the way to the neck."""
_SPINE = {"spine1": 0.3, "spine2": 0.55, "spine3": 0.68}
"""Shares of the way from the middle of the hips to the neck."""


def surface_of(points: np.ndarray) -> np.ndarray:
    """(27, 3): our keypoints out of (70, 3)."""
    return points[[PLACES[name] for name in KEYPOINT_NAMES]]


def joints_of(points: np.ndarray) -> np.ndarray:
    """(24, 3): about where SMPL's joints are, of which only the limbs are more than a guess to start a fit from."""
    at = {name: points[place] for name, place in PLACES.items()}
    hips, neck, head = (at["left_hip"] + at["right_hip"]) / 2, at["neck"], (at["left_ear"] + at["right_ear"]) / 2
    found = {"pelvis": hips + _RISE * (neck - hips), "neck": neck, "head": head}
    found |= {name: hips + share * (neck - hips) for name, share in _SPINE.items()}
    for side in ("left", "right"):
        found |= {f"{side}_{j}": at[f"{side}_{j}"] for j in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")}
        found[f"{side}_collar"] = neck + 0.4 * (at[f"{side}_shoulder"] - neck)
        toes = (at[f"{side}_big_toe"] + at[f"{side}_small_toe"]) / 2
        found[f"{side}_foot"] = at[f"{side}_ankle"] + 0.6 * (toes - at[f"{side}_ankle"])
        found[f"{side}_hand"] = at[f"{side}_middle_knuckle"]
    return np.stack([found[name] for name in JOINT_NAMES[:NUM_JOINTS]])
