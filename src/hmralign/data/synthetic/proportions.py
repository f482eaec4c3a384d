"""Limb lengths that the shape coefficients do not have: observed persons are built differently from the body.

The free body's ten coefficients know heavier, taller, younger, but no long legs on a short trunk, and its average legs
are longer against the trunk than those which the detector reports on photos (docs/results/landmark_offsets.md). A
model that never sees other proportions explains a short shank by a bent knee. So the *observed* skeleton is stretched,
while the annotation stays the body in the same rotations: what is to be learnt are rotations, whatever the build.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, NUM_ALL_JOINTS, PARENTS


def _bones(*ends: str) -> list[int]:
    return [j for j, name in enumerate(JOINT_NAMES) if any(name.endswith(end) for end in ends)]


PARTS: dict[str, list[int]] = {
    "hips": _bones("_hip"),
    "thighs": _bones("_knee"),
    "shanks": _bones("_ankle"),
    "feet": _bones("_foot", "_big_toe_tip"),
    "trunk": _bones("spine1", "spine2", "spine3"),
    "neck": [JOINT_NAMES.index(name) for name in ("neck", "head", "head_top")],
    "shoulders": _bones("_collar", "_shoulder"),
    "upper_arms": _bones("_elbow"),
    "forearms": _bones("_wrist"),
    "hands": _bones("_hand", "_middle_tip"),
}
"""Bones (named by their lower joint) that are stretched together, both sides alike."""


@dataclass(frozen=True)
class Proportions:
    """Factors on bone lengths, log-normal."""

    sd: float = 0.05
    """Standard deviation of each part's log factor; 0 and means of 1 leave the body as it is."""
    thigh_mean: float = 0.97
    """Median factor of the thighs."""
    shank_mean: float = 0.94
    """Median factor of the shanks."""

    def stretch(self, rest_joints: Float[Tensor, "n 29 3"], generator: torch.Generator) -> Float[Tensor, "n 29 3"]:
        """Rest joints with other limb lengths; the pelvis stays. Draws the same numbers whatever `sd` is."""
        factor = torch.exp(self.sd * torch.randn(len(rest_joints), len(PARTS), generator=generator).clamp(-3, 3))
        per_bone = torch.ones(len(rest_joints), NUM_ALL_JOINTS)
        for k, (part, bones) in enumerate(PARTS.items()):
            median = {"thighs": self.thigh_mean, "shanks": self.shank_mean}.get(part, 1.0)
            per_bone[:, bones] = median * factor[:, k : k + 1]
        stretched = [rest_joints[:, 0]]
        for joint in range(1, NUM_ALL_JOINTS):
            bone = rest_joints[:, joint] - rest_joints[:, PARENTS[joint]]
            stretched.append(stretched[PARENTS[joint]] + per_bone[:, joint, None] * bone)
        return torch.stack(stretched, dim=1)


AS_MODELLED = Proportions(sd=0.0, thigh_mean=1.0, shank_mean=1.0)
"""Observed persons have exactly the body's proportions."""
