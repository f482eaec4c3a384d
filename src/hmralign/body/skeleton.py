"""Skeleton tables: the 24 joints of an SMPL-shaped body, its 5 leaves, and the 27 surface keypoints.

Joint order and parents follow SMPL (Loper et al. 2015); the leaves follow the 29-joint set of HybrIK (Li et al. 2021).
Keypoints are COCO-17, the six foot points of COCO-WholeBody, and four knuckles.
"""

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
    "head_top", "left_middle_tip", "right_middle_tip", "left_big_toe_tip", "right_big_toe_tip",
)  # fmt: skip
"""The 29 joints: 24 that rotate, then 5 leaves that only give a direction."""

PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
    15, 22, 23, 10, 11,
)  # fmt: skip
"""Parent of each of the 29 joints."""

NUM_JOINTS = 24
NUM_LEAVES = 5
NUM_ALL_JOINTS = NUM_JOINTS + NUM_LEAVES
NUM_TWISTS = NUM_JOINTS - 1
NUM_BETAS = 10

KEYPOINT_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    "left_index_knuckle", "left_pinky_knuckle", "right_index_knuckle", "right_pinky_knuckle",
)  # fmt: skip
"""The 27 keypoints of an `Observation`: COCO-17, feet (COCO-WholeBody), knuckles."""

NUM_KEYPOINTS = len(KEYPOINT_NAMES)


def _swap_sides(names: tuple[str, ...]) -> tuple[int, ...]:
    """Index of each name's left/right counterpart."""
    other = {"left": "right", "right": "left"}
    swapped = (next((n.replace(side, other[side], 1) for side in other if n.startswith(side)), n) for n in names)
    return tuple(names.index(n) for n in swapped)


MIRROR_JOINTS = _swap_sides(JOINT_NAMES)
"""Joint `i` of a mirrored body is joint `MIRROR_JOINTS[i]` of the original."""

MIRROR_KEYPOINTS = _swap_sides(KEYPOINT_NAMES)
"""The same for keypoints."""
