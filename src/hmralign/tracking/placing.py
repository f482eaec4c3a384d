"""Where bodies of known pose and shape stand, from the keypoints of their frames, and how badly they fit them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.fitting.evidence import Evidence, KeypointNoise, predict
from hmralign.fitting.keypoint_update import RefinementConfig, geman_mcclure, place
from hmralign.geometry.cameras import rays
from hmralign.structures import Observation

_NEVER_ASIDE = 0.17
"""Least cosine of a ray to the axis: one 80 degrees aside is an outlier, and keeps finite coordinates."""


@dataclass(frozen=True)
class Placed:
    """Translations (`cam`, metres), and chi^2 / 2 of the keypoints with outliers counted at most as such."""

    transl: Float[Tensor, "*batch 3"]
    misfit: Float[Tensor, " *batch"]


@torch.no_grad()
def place_by_keypoints(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    observation: Observation,
    noise: KeypointNoise,
    cutoff: float = 3.0,
) -> Placed:
    """Bodies (`cam` rotations) at the places where their keypoints fit those observed, nothing else moved.

    Persons with fewer than two observed keypoints stand on the axis at 4 m.
    """
    ray = rays(observation.keypoints, observation.K)
    tangents = ray[..., :2] / ray[..., 2:].clamp(min=_NEVER_ASIDE)
    evidence = Evidence(tangents, observation.confidence, noise)
    points = predict(body, rotmats, betas, noise.offsets.to(rotmats), derivatives=False).points
    residual = place(points, evidence, RefinementConfig(robust=cutoff))
    scaled = residual.error.norm(dim=-1) / residual.sigma  # 0 where nothing was observed
    # The energy whose weights are Geman and McClure's: c^2 / 2 at most per keypoint.
    energy = 0.5 * scaled.square() * geman_mcclure(scaled, cutoff).sqrt()
    return Placed(residual.transl, energy.sum(-1))
