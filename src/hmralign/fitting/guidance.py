"""Guided DDIM: pull the predicted clean sample towards the viewing rays at every step.

Source of the idea: guidance on the predicted x_0 (Chung et al. 2023, *DPS*; Stathopoulos et al. 2024, *ScoreHMR*), here
without a gradient: each of the 12 limb joints moves in the image plane towards the ray of its keypoint, by the share
that a Kalman update of that joint alone would take. It is kept as an alternative to measure against
`keypoint_update`; `benchmarks/recovery/refinement.py` compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.fitting.evidence import Evidence
from hmralign.geometry.placement import solve_translation
from hmralign.models.lite import LiteModel
from hmralign.models.pose_vector import pack, unpack

_LIMBS = [
    f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
]
_JOINTS = [JOINT_NAMES.index(name) for name in _LIMBS]
_KEYPOINTS = [KEYPOINT_NAMES.index(name) for name in _LIMBS]
_PRIOR_SD = 0.08
"""Metres: how far a predicted joint is believed to be off in the image plane."""


def _mirrored(evidence: Evidence) -> Evidence:
    swap = list(MIRROR_KEYPOINTS)
    flip = torch.tensor([-1.0, 1.0], device=evidence.tangents.device)
    return replace(evidence, tangents=evidence.tangents[:, swap] * flip, confidence=evidence.confidence[:, swap])


def keypoint_guidance(
    model: LiteModel, body: BodyModel, evidence: Evidence
) -> Callable[[Float[Tensor, "person half 130"], Float[Tensor, ""], bool], Float[Tensor, "person half 130"]]:
    """Guidance for `sample_group`: `(x_0, alpha_bar_t, mirrored) -> x_0`."""
    both = {False: evidence, True: _mirrored(evidence)}
    height = float(body.J_template[:, 1].max() - body.J_template[:, 1].min())

    def guide(x_0: Tensor, alpha_bar_t: Tensor, mirrored: bool) -> Tensor:
        seen = both[mirrored]
        joints, twist = unpack(model.codec.decode(x_0))
        tangents = seen.tangents[:, None, _KEYPOINTS].expand(*joints.shape[:-2], -1, -1)  # (B, N, 12, 2)
        sigma = seen.noise.of(seen.confidence)[:, None, _KEYPOINTS].expand(tangents.shape[:-1]) * height  # (B, N, 12)
        transl = solve_translation(joints[..., _JOINTS, :], tangents, torch.where(sigma.isfinite(), 0.01 / sigma, 0.0))
        depth = (joints[..., _JOINTS, 2] + transl[..., None, 2])[..., None]  # (B, N, 12, 1)
        target = tangents * depth - transl[..., None, :2]  # (B, N, 12, 2)
        gain = _PRIOR_SD**2 / (_PRIOR_SD**2 + sigma.square())
        joints = joints.clone()
        joints[..., _JOINTS, :2] += gain[..., None] * (target - joints[..., _JOINTS, :2])
        return model.codec.encode(pack(joints, twist))

    return guide
