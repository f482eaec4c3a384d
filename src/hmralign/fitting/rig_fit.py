"""One body for several calibrated views of the same instant: evidence that no single photo holds.

Gauss-Newton on the posterior (Hartley & Zisserman 2004, sec. 18.1, with a prior): the state is the turn of each joint
away from a first guess, the shape, and where the body is; residuals are the keypoints of every view in standard
deviations of the detector's noise, reweighted where they disagree (Geman & McClure 1987).

    guess -> keypoints in each view -> residuals / sigma -> normal equations with the prior -> turns, shape, place

The answer knows depth from the views themselves, so a model that sees one of them can be judged by it, or taught,
without any 3D label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.fitting.evidence import KeypointNoise, Prediction, predict
from hmralign.fitting.keypoint_update import geman_mcclure
from hmralign.geometry.cameras import rays
from hmralign.geometry.rotations import mean_rotmat, rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import BodyParams, InputError, Observation, TensorRecord


@dataclass(frozen=True)
class RigFitConfig:
    """How bodies are fitted to several views."""

    steps: int = 6
    """Gauss-Newton steps."""
    prior_deg: float = 15.0
    """Standard deviation per joint axis around the first guess."""
    betas_sd: float = 1.0
    """Standard deviation of the shape coefficients around zero."""
    robust: float = 3.0
    """Residuals beyond this many standard deviations lose their say; the first step is eight times as patient."""
    max_turn_deg: float = 40.0
    """Longest turn of one joint in one step: the linearisation does not reach further."""


@dataclass(frozen=True)
class RigFit(TensorRecord):
    """Bodies in the first view's `cam` frame."""

    body: BodyParams
    agreement: Float[Tensor, " person"]
    """Mean robust weight of the observed keypoints over all views, 0 to 1: 1 where body and views agree."""


def first_guess(
    rotmats: Float[Tensor, "person view 24 3 3"], T_view_first: Float[Tensor, "person view 4 4"]
) -> Float[Tensor, "person 24 3 3"]:
    """Mean over views of bodies that were estimated in each of them alone (`cam` frame of their view)."""
    turned = rotmats.clone()
    turned[:, :, 0] = T_view_first[..., :3, :3].mT @ rotmats[:, :, 0]
    return mean_rotmat(turned.movedim(1, 2))


@torch.no_grad()
def fit_rig(
    body: BodyModel,
    guess: Float[Tensor, "person 24 3 3"],
    betas: Float[Tensor, "person betas"],
    observation: Observation,
    T_view_first: Float[Tensor, "person view 4 4"],
    noise: KeypointNoise,
    config: RigFitConfig | None = None,
) -> RigFit:
    """Fit one body per person; `observation` has axes (person, view), with the true intrinsics of every view.

    `guess` is in the first view's `cam` frame. Raises InputError for views and transforms that do not fit together.
    """
    config = config or RigFitConfig()
    if tuple(observation.box.shape[:2]) != tuple(T_view_first.shape[:2]):
        raise InputError(
            f"{tuple(observation.box.shape[:2])} views of persons, but {tuple(T_view_first.shape[:2])} transforms"
        )
    seen = _Seen.of(observation, T_view_first, noise)
    rotmats, shape, transl, weight = guess, betas, None, seen.observed.float()
    for step in range(config.steps):
        model = predict(body, rotmats, shape, noise.offsets, derivatives=True)
        transl = seen.linear_place(model.points) if transl is None else transl
        away = torch.cat([rotmat_to_rotvec(guess.mT @ rotmats).flatten(-2), shape], -1)  # (n, 72 + betas)
        change, weight = seen.newton_step(model, transl, away, config, _cutoff(step, config))
        rotmats = rotmats @ rotvec_to_rotmat(_bounded(change[:, :72].unflatten(-1, (24, 3)), config.max_turn_deg))
        shape = (shape + change[:, 72:-3]).clamp(-4, 4)
        transl = transl + change[:, -3:]
    assert transl is not None
    observed = seen.observed.float()
    agreement = (weight * observed).sum((1, 2)) / observed.sum((1, 2)).clamp(min=1)
    return RigFit(BodyParams(rotmats[:, 0], rotmats[:, 1:], shape, transl), agreement)


def _cutoff(step: int, config: RigFitConfig) -> float:
    """Patient at first, as strict as asked for in the second half of the steps."""
    return config.robust * 8.0 ** (1 - min(1.0, 2 * step / max(config.steps - 1, 1)))


def _bounded(turns: Float[Tensor, "n 24 3"], degrees: float) -> Float[Tensor, "n 24 3"]:
    limit = math.radians(degrees)
    return turns * (limit / turns.norm(dim=-1, keepdim=True).clamp(min=limit))


@dataclass(frozen=True)
class _Seen:
    """Keypoints of all views as rays, and where the views are."""

    tangents: Float[Tensor, "n view 27 2"]
    sigma: Float[Tensor, "n view 27"]
    """Shares of the body's height; 1 where nothing was observed."""
    observed: Bool[Tensor, "n view 27"]
    R: Float[Tensor, "n view 3 3"]
    t: Float[Tensor, "n view 3"]

    @staticmethod
    def of(observation: Observation, T: Float[Tensor, "n view 4 4"], noise: KeypointNoise) -> _Seen:
        ray = rays(observation.keypoints, observation.K)  # (n, view, 27, 3)
        tangents = ray[..., :2] / ray[..., 2:].clamp(min=0.05)
        sigma = noise.of(observation.confidence)
        observed = sigma.isfinite()
        return _Seen(tangents, torch.where(observed, sigma, 1.0), observed, T[..., :3, :3], T[..., :3, 3])

    def placed(self, points: Float[Tensor, "n 27 3"], transl: Float[Tensor, "n 3"]) -> Float[Tensor, "n view 27 3"]:
        """Points in the frame of every view."""
        return (points + transl[:, None])[:, None] @ self.R.mT + self.t[:, :, None]

    def linear_place(self, points: Float[Tensor, "n 27 3"]) -> Float[Tensor, "n 3"]:
        """Translation in closed form: x - u z = 0 and y - v z = 0 are linear in it, in every view."""
        turned = self.placed(points, torch.zeros_like(points[:, 0]))  # (n, view, 27, 3)
        A = self.R[:, :, None, :2] - self.tangents[..., None] * self.R[:, :, None, 2:]  # (n, view, 27, 2, 3)
        b = self.tangents * turned[..., 2:] - turned[..., :2]
        weight = (self.observed / self.sigma)[..., None, None]  # (n, view, 27, 1, 1)
        A, b = (weight * A).flatten(1, 3), (weight[..., 0] * b).flatten(1)  # (n, rows, 3), (n, rows)
        normal = A.mT @ A + 1e-6 * torch.eye(3)
        return torch.linalg.solve(normal, (A.mT @ b[..., None])[..., 0])

    def newton_step(
        self,
        model: Prediction,
        transl: Float[Tensor, "n 3"],
        away: Float[Tensor, "n turns_and_betas"],
        config: RigFitConfig,
        cutoff: float,
    ) -> tuple[Float[Tensor, "n state"], Float[Tensor, "n view 27"]]:
        """Change of (turns, shape, translation), and the robust weights it was made with."""
        assert model.d_rotation is not None and model.d_betas is not None
        placed = self.placed(model.points, transl)
        z = placed[..., 2:].clamp(min=0.1)  # (n, view, 27, 1)
        tangent = placed[..., :2] / z
        height = (tangent.amax(-2) - tangent.amin(-2)).amax(-1).clamp(max=4.0)  # (n, view)
        sigma = self.sigma * height[..., None]
        error = self.tangents - tangent  # (n, view, 27, 2)
        in_front = placed[..., 2] > 0.1
        weight = geman_mcclure(error.norm(dim=-1) / sigma, cutoff) * self.observed * in_front
        eye = torch.eye(3).expand(*model.points.shape, 3)
        d_point = torch.cat([model.d_rotation, model.d_betas, eye], -1)  # (n, 27, 3, S)
        d_view = self.R[:, :, None] @ d_point[:, None]  # (n, view, 27, 3, S)
        J = (d_view[..., :2, :] - tangent[..., None] * d_view[..., 2:, :]) / z[..., None]  # (n, view, 27, 2, S)
        scale = (weight.sqrt() / sigma)[..., None]  # (n, view, 27, 1)
        J, e = (scale[..., None] * J).flatten(1, 3), (scale * error).flatten(1)  # (n, rows, S), (n, rows)
        precision = self._precision(away.shape[-1] - 72, config)  # (S,)
        pull = torch.cat([away, torch.zeros_like(transl)], -1) * precision
        right = (J.mT @ e[..., None])[..., 0] - pull
        return torch.linalg.solve(J.mT @ J + torch.diag(precision), right), weight

    def _precision(self, num_betas: int, config: RigFitConfig) -> Float[Tensor, " state"]:
        turn, shape = math.radians(config.prior_deg) ** -2, config.betas_sd**-2
        return torch.cat([torch.full((72,), turn), torch.full((num_betas,), shape), torch.full((3,), 1e-4)])
