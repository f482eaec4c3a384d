"""Test-time refinement: move a group of hypotheses onto the 2D keypoints, with the keypoints' measured noise.

Two updates of the same posterior. The group is the prior: each hypothesis may move along the directions in which the
group itself is uncertain.

- `ensemble_update`: ensemble Kalman smoother with multiple data assimilation (Emerick & Reynolds 2013), closed form;
  the covariances between pose and keypoints are those of the group.
- `gauss_newton_update`: randomised maximum likelihood (Oliver et al. 1996), each hypothesis its own prior mean, the
  derivatives of the keypoints analytic.

Both solve the translation in closed form and guard against wrong keypoints by reweighting (Geman & McClure 1987).
Depth is not observed: what 2D cannot say stays as spread as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.fitting.evidence import Evidence, predict
from hmralign.geometry.placement import solve_translation
from hmralign.geometry.rotations import mean_rotmat, rotmat_to_rotvec, rotvec_to_rotmat

_BODIES_AT_ONCE = 512
"""Persons are refined in parts of about so many bodies: the derivatives of more leave the processor's caches, and those
of all persons of an evaluation at once were gigabytes."""


@dataclass(frozen=True)
class RefinementConfig:
    """How hypotheses are moved onto the keypoints."""

    method: Literal["none", "ensemble", "gauss_newton"] = "gauss_newton"
    """Which update; none leaves the samples alone."""
    steps: int = 1
    """Passes of the ensemble update (the noise is inflated so that they count as one), or Gauss-Newton steps. More
    steps fit the photo better and the truth worse (docs/results/refinement.md)."""
    noise_scale: float = 1.0
    """Factor on the measured noise."""
    fused_noise_scale: float = 4.0
    """The same for the fused body, whose group has seen the keypoints before: enough to mend a mean that fits nowhere
    between two modes, not so much as to count the evidence twice."""
    own_share: float = 0.5
    """Share of the group's own covariance in the prior; the rest is the floor below."""
    floor_deg: float = 6.0
    """Standard deviation per joint axis of the part of the prior that does not come from the group."""
    betas_sd: float = 0.7
    """Prior standard deviation of the shape coefficients around the predicted ones; 0 keeps the shape."""
    robust: float = 3.0
    """Residuals beyond this many standard deviations lose their say; 0 trusts every keypoint. The first step is four
    times as patient, the last as strict as said (graduated non-convexity): a pose that starts wrong makes good
    keypoints look bad."""

    def cutoff(self, step: int) -> float:
        """Robust cutoff of a step, 0-based."""
        last = max(self.steps - 1, 1)
        return self.robust * 4.0 ** (1 - min(step, last) / last) if self.steps > 1 else self.robust * 2.0


def body_extent(tangents: Float[Tensor, "*batch 27 2"]) -> Float[Tensor, "*batch"]:
    """Longer side of the box of predicted keypoints: the body height that noise is a share of."""
    return (tangents.amax(-2) - tangents.amin(-2)).amax(-1)


@dataclass(frozen=True)
class Residuals:
    """Keypoints of placed bodies against the rays."""

    tangents: Float[Tensor, "person hyp 27 2"]
    error: Float[Tensor, "person hyp 27 2"]
    sigma: Float[Tensor, "person hyp 27"]
    transl: Float[Tensor, "person hyp 3"]


def place(points: Float[Tensor, "person hyp 27 3"], evidence: Evidence, config: RefinementConfig) -> Residuals:
    """Put bodies on the rays: weighted translation, then once more without the keypoints that disagree."""
    observed = evidence.tangents[:, None]  # (B, 1, 27, 2)
    sigma = evidence.noise.of(evidence.confidence)[:, None]  # (B, 1, 27)
    weights = torch.where(sigma.isfinite(), 0.01 / sigma, 0.0).expand(points.shape[:-1])
    transl = solve_translation(points, observed.expand(*points.shape[:-1], 2), weights)  # (B, N, 3)
    finite = torch.where(sigma.isfinite(), sigma, 1.0)  # has no say, but infinity has no gradient
    for _ in range(2 if config.robust > 0 else 0):
        tangents = _project(points, transl)
        scaled = finite * body_extent(tangents)[..., None] * config.noise_scale
        error = observed - tangents
        # The translation is fitted before the pose: allow the pose's own error of about 4 % of the height.
        slack = (scaled.square() + (0.04 * body_extent(tangents)[..., None]).square()).sqrt()
        again = weights * geman_mcclure(error.norm(dim=-1) / slack, config.robust).sqrt()
        transl = solve_translation(points, observed.expand(*points.shape[:-1], 2), again)
    tangents = _project(points, transl)
    scaled = sigma * body_extent(tangents)[..., None] * config.noise_scale
    return Residuals(tangents, observed - tangents, scaled, transl)


def _project(points: Float[Tensor, "*batch 27 3"], transl: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 27 2"]:
    placed = points + transl[..., None, :]
    return placed[..., :2] / placed[..., 2:].clamp(min=0.1)


def geman_mcclure(scaled_error: Float[Tensor, "*any"], cutoff: float) -> Float[Tensor, "*any"]:
    """Weight of a residual measured in standard deviations: 1 at 0, 1/4 at the cutoff, falling to 0."""
    if cutoff <= 0:
        return torch.ones_like(scaled_error)
    return (1 + (scaled_error / cutoff).square()).reciprocal().square()


def tangent_coordinates(
    rotmats: Float[Tensor, "person hyp 24 3 3"],
) -> tuple[Float[Tensor, "person 24 3 3"], Float[Tensor, "person hyp 72"]]:
    """Mean rotations of each group, and every hypothesis as right turns from them."""
    mean = mean_rotmat(rotmats.movedim(1, 2))  # (B, 24, 3, 3)
    return mean, rotmat_to_rotvec(mean[:, None].mT @ rotmats).flatten(-2)


def prior_covariance(turns: Float[Tensor, "person hyp 72"], config: RefinementConfig) -> Float[Tensor, "person 72 72"]:
    """Covariance of the group plus the floor. A single hypothesis has the floor alone."""
    floor = torch.eye(turns.shape[-1], device=turns.device) * torch.deg2rad(torch.tensor(config.floor_deg)) ** 2
    if turns.shape[1] < 2:
        return floor.expand(len(turns), -1, -1)
    centred = turns - turns.mean(1, keepdim=True)
    return config.own_share * centred.mT @ centred / (turns.shape[1] - 1) + (1 - config.own_share) * floor


@torch.no_grad()
def refine_group(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    evidence: Evidence,
    config: RefinementConfig,
    prior_group: Float[Tensor, "person other 24 3 3"] | None = None,
) -> tuple[Float[Tensor, "person hyp 24 3 3"], Float[Tensor, "person hyp betas"]]:
    """Refined rotations and shapes. Persons with fewer than two observed keypoints come back as they were.

    The directions in which hypotheses may move are those of the group itself, or of `prior_group`: the fused body is
    refined as a group of one with the doubt of the group it was made from.
    """
    if config.method == "none":
        return rotmats, betas
    at_once = max(_BODIES_AT_ONCE // rotmats.shape[1], 1)
    parts = []
    for start in range(0, len(rotmats), at_once):
        some = slice(start, start + at_once)
        seen = Evidence(evidence.tangents[some], evidence.confidence[some], evidence.noise)
        prior = None if prior_group is None else prior_group[some]
        parts.append(_refine_persons(body, rotmats[some], betas[some], seen, config, prior))
    if not parts:
        return rotmats, betas
    refined, shapes = zip(*parts, strict=True)
    return torch.cat(refined), torch.cat(shapes)


def _refine_persons(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    evidence: Evidence,
    config: RefinementConfig,
    prior_group: Float[Tensor, "person other 24 3 3"] | None,
) -> tuple[Float[Tensor, "person hyp 24 3 3"], Float[Tensor, "person hyp betas"]]:
    if config.method == "ensemble" and rotmats.shape[1] > 2:
        refined = ensemble_update(body, rotmats, betas, evidence, config), betas
    else:
        refined = gauss_newton_update(body, rotmats, betas, evidence, config, prior_group)
    seen = (evidence.confidence > 0).sum(-1) >= 2
    return (
        torch.where(seen[:, None, None, None, None], refined[0], rotmats),
        torch.where(seen[:, None, None], refined[1], betas),
    )


def ensemble_update(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    evidence: Evidence,
    config: RefinementConfig,
) -> Float[Tensor, "person hyp 24 3 3"]:
    """Closed-form update with the covariances of the group; `steps` passes with inflated noise."""
    for step in range(config.steps):
        mean, turns = tangent_coordinates(rotmats)
        residual = place(
            predict(body, rotmats, betas, evidence.noise.offsets, derivatives=False).points, evidence, config
        )
        predicted = residual.tangents.flatten(-2)  # (B, N, 54)
        dx = turns - turns.mean(1, keepdim=True)
        dy = predicted - predicted.mean(1, keepdim=True)
        n = turns.shape[1] - 1
        cross, auto = dx.mT @ dy / n, dy.mT @ dy / n  # (B, 72, 54), (B, 54, 54)
        typical = residual.error.norm(dim=-1).median(dim=1).values / residual.sigma.median(dim=1).values  # (B, 27)
        weight = geman_mcclure(typical, config.cutoff(step))
        variance = config.steps * (residual.sigma.median(dim=1).values.square() / weight.clamp(min=1e-6))
        variance = torch.where(evidence.confidence > 0, variance, 1e6).repeat_interleave(2, dim=-1)  # (B, 54)
        gain = torch.linalg.solve(auto + torch.diag_embed(variance), cross.mT).mT  # (B, 72, 54)
        turns = turns + residual.error.flatten(-2) @ gain.mT  # (B, N, 72)
        rotmats = mean[:, None] @ rotvec_to_rotmat(turns.unflatten(-1, (24, 3)))  # (B, N, 24, 3, 3)
    return rotmats


def gauss_newton_update(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    evidence: Evidence,
    config: RefinementConfig,
    prior_group: Float[Tensor, "person other 24 3 3"] | None = None,
) -> tuple[Float[Tensor, "person hyp 24 3 3"], Float[Tensor, "person hyp betas"]]:
    """Each hypothesis to the nearest point, in its prior, that explains the keypoints.

    State: 72 turns, shape, translation. Solved in the space of the 54 measurements, where it is smallest.
    """
    _, spread = tangent_coordinates(rotmats if prior_group is None else prior_group)
    P = _state_covariance(spread, betas.shape[-1], config)  # (B, S, S), S = 72 + betas + 3
    start_rotmats, start_betas = rotmats, betas
    for step in range(config.steps):
        model = predict(body, rotmats, betas, evidence.noise.offsets, derivatives=True)
        residual = place(model.points, evidence, config)
        J = observation_jacobian(model.d_rotation, model.d_betas, model.points, residual.transl)  # (B, N, 54, S)
        weight = geman_mcclure(residual.error.norm(dim=-1) / residual.sigma, config.cutoff(step))  # (B, N, 27)
        variance = residual.sigma.square() / weight.clamp(min=1e-6)
        variance = torch.where(evidence.confidence[:, None] > 0, variance, 1e6).repeat_interleave(2, dim=-1)
        JP = (J.flatten(1, 2) @ P).view_as(J)  # (B, N, 54, S): one product for all bodies of a person
        innovation = residual.error.flatten(-2)  # (B, N, 54)
        if step > 0:
            turned = rotmat_to_rotvec(start_rotmats.mT @ rotmats).flatten(-2)
            away = torch.cat([turned, betas - start_betas, torch.zeros_like(residual.transl)], dim=-1)
            innovation = innovation + (J @ away[..., None])[..., 0]
        solved = torch.linalg.solve(JP @ J.mT + torch.diag_embed(variance), innovation[..., None])  # (B, N, 54, 1)
        state = (JP.mT @ solved)[..., 0]  # (B, N, S)
        rotmats = start_rotmats @ rotvec_to_rotmat(_bounded(state[..., :72]).unflatten(-1, (24, 3)))
        betas = (start_betas + state[..., 72:-3]).clamp(-4, 4)
    return rotmats, betas


def _bounded(turns: Float[Tensor, "*batch 72"], limit: float = 1.2) -> Float[Tensor, "*batch 72"]:
    """Linearisation does not hold for large turns: shorten each joint's turn to at most `limit` radians."""
    joints = turns.unflatten(-1, (24, 3))  # (*B, 24, 3)
    length = joints.norm(dim=-1, keepdim=True)
    return (joints * (limit / length.clamp(min=limit))).flatten(-2)


def _state_covariance(
    turns: Float[Tensor, "person hyp 72"], num_betas: int, config: RefinementConfig
) -> Float[Tensor, "person state state"]:
    pose = prior_covariance(turns, config)
    size = pose.shape[-1] + num_betas + 3
    P = torch.zeros(len(pose), size, size, device=pose.device)
    P[:, :72, :72] = pose
    P[:, range(72, size - 3), range(72, size - 3)] = config.betas_sd**2
    P[:, range(size - 3, size), range(size - 3, size)] = torch.tensor([0.25, 0.25, 1.0], device=pose.device)
    return P


def observation_jacobian(
    d_rotation: Tensor | None,
    d_betas: Tensor | None,
    points: Float[Tensor, "person hyp 27 3"],
    transl: Float[Tensor, "person hyp 3"],
) -> Float[Tensor, "person hyp 54 state"]:
    """Derivative of the tangents of placed landmarks by the state: 72 turns, shape, translation."""
    assert d_rotation is not None and d_betas is not None
    eye = torch.eye(3, device=points.device).expand(*points.shape, 3)
    d_point = torch.cat([d_rotation, d_betas, eye], dim=-1)  # (B, N, 27, 3, S)
    placed = points + transl[..., None, :]
    z = placed[..., 2:, None].clamp(min=0.1)  # (B, N, 27, 1, 1)
    tangent = placed[..., :2, None] / z  # (B, N, 27, 2, 1)
    return ((d_point[..., :2, :] - tangent * d_point[..., 2:, :]) / z).flatten(-3, -2)
