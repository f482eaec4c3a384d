"""A body fitted to points in 3D: how a body of another kind, such as MHR, is carried over to ours.

Gauss-Newton as in `rig_fit`: the state is the turn of each joint away from a first guess, the shape, and where the body
is; residuals are the 27 keypoints in metres, reweighted where they disagree (Geman & McClure 1987). What the keypoints
leave open, such as a bent back, stays near the guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.fitting.evidence import predict
from hmralign.fitting.keypoint_update import geman_mcclure
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import BodyParams, TensorRecord


@dataclass(frozen=True)
class PointFitConfig:
    """How bodies are fitted to points."""

    steps: int = 12
    """Gauss-Newton steps."""
    sigma: float = 0.015
    """Metres by which a keypoint of one kind of body lies elsewhere than that of another."""
    prior_deg: float = 40.0
    """Standard deviation per joint axis around the first guess, whose twists are unknown."""
    betas_sd: float = 1.0
    """Standard deviation of the shape coefficients around zero."""
    robust: float = 4.0
    """Residuals beyond this many standard deviations lose their say; the first steps are more patient."""
    max_turn_deg: float = 40.0
    """Longest turn of one joint in one step."""


@dataclass(frozen=True)
class PointFit(TensorRecord):
    """Bodies in the frame of the points."""

    body: BodyParams
    residual: Float[Tensor, "n 27"]
    """Metres between each point and the body's keypoint; NaN for points that there are not."""


_PATIENT = 4.0


@torch.no_grad()
def fit_points(
    body: BodyModel,
    guess: Float[Tensor, "n 24 3 3"],
    betas: Float[Tensor, "n betas"],
    points: Float[Tensor, "n 27 3"],
    config: PointFitConfig | None = None,
) -> PointFit:
    """Fit one body to the keypoints of each person, metres, any frame; NaN marks keypoints that are not known."""
    config = config or PointFitConfig()
    known = torch.isfinite(points).all(-1)  # (n, 27)
    target, offsets = points.nan_to_num(), points.new_zeros(27, 3)
    rotmats, shape = guess, betas
    weight = known.to(points)
    transl = _mean_gap(target, predict(body, rotmats, shape, offsets, derivatives=False).points, weight)
    for step in range(config.steps):
        found = predict(body, rotmats, shape, offsets, derivatives=True)
        error = target - found.points - transl[:, None]  # (n, 27, 3)
        cutoff = config.robust * _PATIENT ** (1 - min(1.0, 2 * step / max(config.steps - 1, 1)))
        weight = geman_mcclure(error.norm(dim=-1) / config.sigma, cutoff) * known
        away = torch.cat([rotmat_to_rotvec(guess.mT @ rotmats).flatten(-2), shape], -1)  # (n, 72 + betas)
        assert found.d_rotation is not None and found.d_betas is not None
        eye = torch.eye(3).to(points).expand(*target.shape, 3)
        change = _step(torch.cat([found.d_rotation, found.d_betas, eye], -1), error, weight, away, config)
        rotmats = rotmats @ rotvec_to_rotmat(_bounded(change[:, :72].unflatten(-1, (24, 3)), config.max_turn_deg))
        shape = (shape + change[:, 72:-3]).clamp(-4, 4)
        transl = transl + change[:, -3:]
    last = predict(body, rotmats, shape, offsets, derivatives=False).points + transl[:, None]
    residual = torch.where(known, (target - last).norm(dim=-1), torch.nan)
    # `predict` has the pelvis where the rest pose has it, as bodies do.
    return PointFit(BodyParams(rotmats[:, 0], rotmats[:, 1:], shape, transl), residual)


def _mean_gap(
    target: Float[Tensor, "n 27 3"], points: Float[Tensor, "n 27 3"], weight: Float[Tensor, "n 27"]
) -> Float[Tensor, "n 3"]:
    share = weight / weight.sum(1, keepdim=True).clamp(min=1)
    return ((target - points) * share[..., None]).sum(1)


def _step(
    jacobian: Float[Tensor, "n 27 3 state"],
    error: Float[Tensor, "n 27 3"],
    weight: Float[Tensor, "n 27"],
    away: Float[Tensor, "n turns_and_betas"],
    config: PointFitConfig,
) -> Float[Tensor, "n state"]:
    scale = (weight.sqrt() / config.sigma)[..., None]  # (n, 27, 1)
    J, e = (scale[..., None] * jacobian).flatten(1, 2), (scale * error).flatten(1)  # (n, 81, S), (n, 81)
    turn, shape = math.radians(config.prior_deg) ** -2, config.betas_sd**-2
    precision = torch.cat([torch.full((72,), turn), torch.full((away.shape[-1] - 72,), shape), torch.full((3,), 1e-4)])
    precision = precision.to(J)
    pull = torch.cat([away, away.new_zeros(len(away), 3)], -1) * precision
    right = (J.mT @ e[..., None])[..., 0] - pull
    return torch.linalg.solve(J.mT @ J + torch.diag(precision), right)


def _bounded(turns: Float[Tensor, "n 24 3"], degrees: float) -> Float[Tensor, "n 24 3"]:
    limit = math.radians(degrees)
    return turns * (limit / turns.norm(dim=-1, keepdim=True).clamp(min=limit))
