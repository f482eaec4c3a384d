"""What is said along with something else: families that go without saying once another is said.

"Lying on the back" says "lying", and crossed arms have both hands across the body. The table is by family and typed
from what words mean; it keeps captions from repeating themselves and is no logic that anything is derived by.
"""

from __future__ import annotations

_LYING = ("lying", "torso_bent_over", "torso_leaning_back")
_IMPLIES: dict[str, tuple[str, ...]] = {
    "lying_on_back": _LYING,
    "lying_face_down": _LYING,
    "lying_on_side": _LYING,
    "sitting_on_ground": ("sitting",),
    "leg_crossed_over_other": ("legs_crossed", "foot_in_front_of_other"),
    "arms_crossed": ("hand_across", "hand_in_front", "hand_on_other_elbow", "hand_on_other_forearm"),
    "arm_up": ("hand_above_head", "elbow_above_shoulder", "forearm_upright", "hand_higher_than_other"),
    "hand_above_head": ("hand_higher_than_other",),
    "arm_down": ("forearm_hanging", "upper_arm_at_side", "hand_below_hips", "hand_hip_height"),
    "arm_forward": ("hand_in_front_of_other",),
    "arm_backward": ("hand_behind", "elbow_drawn_back"),
    "arm_sideways": ("upper_arm_level", "forearm_level", "hand_shoulder_height"),
    "hands_together": ("hand_on_other_forearm",),
    "hand_behind_back": ("hand_behind", "elbow_drawn_back"),
    "hand_on_chest": ("hand_in_front",),
    "hand_on_belly": ("hand_in_front",),
    "hand_on_back": ("hand_behind_back", "elbow_drawn_back"),
    "hand_on_own_hip": ("hand_hip_height",),
    "hand_on_other_hip": ("hand_across", "hand_hip_height"),
    "hand_on_other_shoulder": ("hand_across", "hand_shoulder_height"),
    "hand_on_own_shoulder": ("hand_shoulder_height", "elbow_sharply_bent"),
    "hand_on_other_thigh": ("hand_across", "hand_on_other_hip"),
    "hand_on_own_thigh": ("hand_hip_height",),
    "hand_on_other_upper_arm": ("hand_across",),
    "hand_on_other_elbow": ("hand_across", "hand_on_other_forearm"),
    "on_all_fours": ("kneeling", "hand_on_ground", "knee_on_ground", "torso_bent_over"),
    "kneeling": ("knee_on_ground",),
    "kneeling_on_one_knee": ("knee_on_ground", "knee_higher_than_other"),
    "crouching": ("sitting", "knee_sharply_bent", "knee_hip_height"),
    "sitting": ("knee_hip_height", "thigh_level"),
    "knee_hip_height": ("thigh_level", "knee_higher_than_other"),
    "foot_hip_height": ("foot_lifted", "knee_hip_height", "knee_higher_than_other"),
    "torso_bent_over": ("torso_leaning_forward",),
    "leg_forward": ("foot_in_front_of_other",),
    "knee_straight": ("shin_upright", "thigh_upright"),
    "feet_wide_apart": ("leg_sideways",),
    "upside_down": ("foot_hip_height", "foot_lifted", "knee_hip_height"),
    "hand_on_own_foot": ("hand_on_own_shin",),
    "hand_on_other_foot": ("hand_on_other_shin",),
}


def follows_from(family: str, said: str) -> bool:
    """Whether a family goes without saying once another is said.

    >>> follows_from("lying", "lying_on_back"), follows_from("lying_on_back", "lying")
    (True, False)
    """
    return family in _IMPLIES.get(said, ())
