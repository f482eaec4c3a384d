"""From mediapipe's 33 landmarks to our 27 keypoints, and from alignment points to square regions.

Source: Bazarevsky et al. 2020 (BlazePose), sec. 2.2; mediapipe's `pose_detection_to_roi`, `pose_landmarks_to_roi`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from hmralign.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS

LANDMARK_OF_KEYPOINT = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_shoulder": 11, "right_shoulder": 12,
    "left_elbow": 13, "right_elbow": 14, "left_wrist": 15, "right_wrist": 16, "left_hip": 23, "right_hip": 24,
    "left_knee": 25, "right_knee": 26, "left_ankle": 27, "right_ankle": 28, "left_big_toe": 31, "left_heel": 29,
    "right_big_toe": 32, "right_heel": 30, "left_index_knuckle": 19, "left_pinky_knuckle": 17,
    "right_index_knuckle": 20, "right_pinky_knuckle": 18,
}  # fmt: skip
"""mediapipe has no small toe; its "foot index" is the big toe."""

_TARGETS = np.array([i for i, n in enumerate(KEYPOINT_NAMES) if n in LANDMARK_OF_KEYPOINT])
_SOURCES = np.array([LANDMARK_OF_KEYPOINT[KEYPOINT_NAMES[i]] for i in _TARGETS])

REGION_MARGIN = 1.25
"""mediapipe enlarges the circle around the body by this."""


def landmarks_to_keypoints(
    landmarks: Float[np.ndarray, "marks channels"], image_size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "kp 2"], Float32[np.ndarray, " kp"]]:
    """Keypoints (27, 2) in pixels and their confidence (27,).

    `landmarks` holds x, y, z, visibility, ... per row; `image_size` is (height, width). Confidence is the visibility,
    and 0 outside the image: mediapipe keeps a visibility above 0.5 for about half of the points it invents there.
    """
    keypoints = np.zeros((NUM_KEYPOINTS, 2), np.float32)
    confidence = np.zeros(NUM_KEYPOINTS, np.float32)
    keypoints[_TARGETS] = landmarks[_SOURCES, :2]
    confidence[_TARGETS] = np.clip(landmarks[_SOURCES, 3], 0.0, 1.0)
    confidence[~inside_image(keypoints, image_size)] = 0.0
    return keypoints, distrust_invented_knees(keypoints, confidence)


def landmarks_to_points3d(
    landmarks: Float[np.ndarray, "marks channels"], confidence: Float32[np.ndarray, " kp"]
) -> tuple[Float32[np.ndarray, "kp 3"], Float32[np.ndarray, " kp"]]:
    """Metric landmarks (x, y, z, ... per row) as our keypoints (27, 3) and their confidence (27,).

    `confidence` is that of the keypoints in the picture; it holds in 3D as well, and is 0 where there is no landmark.
    """
    points = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    points[_TARGETS] = landmarks[_SOURCES, :3]
    given = np.zeros(NUM_KEYPOINTS, np.float32)
    given[_TARGETS] = confidence[_TARGETS]
    return points, given


def distrust_invented_knees(
    keypoints: Float32[np.ndarray, "kp 2"], confidence: Float32[np.ndarray, " kp"]
) -> Float32[np.ndarray, " kp"]:
    """Confidence, 0 for knees that are arms taken for legs.

    Of a person cut off at the waist mediapipe puts the knees on the elbows, with a visibility near 0.8. Such knees
    lie within 0.3 torso lengths of the same side's elbow or wrist while their ankle is not in the image.
    """
    at = {name: i for i, name in enumerate(KEYPOINT_NAMES)}
    shoulders, hips = (keypoints[[at[f"left_{n}"], at[f"right_{n}"]]].mean(0) for n in ("shoulder", "hip"))
    torso = float(np.linalg.norm(shoulders - hips))
    out = confidence.copy()
    for side in ("left", "right"):
        knee, ankle = at[f"{side}_knee"], at[f"{side}_ankle"]
        arm = keypoints[[at[f"{side}_elbow"], at[f"{side}_wrist"]]]
        near = np.linalg.norm(arm - keypoints[knee], axis=1).min() < 0.3 * torso
        if near and confidence[ankle] == 0:
            out[knee] = 0.0
    return out


def inside_image(points: Float[np.ndarray, "*batch 2"], image_size: tuple[int, int]) -> np.ndarray:
    """Whether points lie on the image, (height, width), whose pixels reach half a pixel beyond their centres."""
    height, width = image_size
    x, y = points[..., 0], points[..., 1]
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def region_of_points(
    hips: Float[np.ndarray, " 2"], circle: Float[np.ndarray, " 2"], margin: float = REGION_MARGIN
) -> tuple[float, float, float, float]:
    """Square region (centre x, centre y, side, angle) from the middle of the hips and a point above the head.

    The angle turns the region so that the way from the hips to the circle point goes up.

    >>> region_of_points(np.array([10.0, 50.0]), np.array([10.0, 10.0]), margin=1.0)
    (10.0, 50.0, 80.0, 0.0)
    """
    x, y = float(circle[0] - hips[0]), float(circle[1] - hips[1])
    return float(hips[0]), float(hips[1]), 2.0 * float(np.hypot(x, y)) * margin, float(np.arctan2(x, -y)) + 0.0
