"""Guidance: a body, believed to be right up to a prior, is moved towards keypoints and words.

Eq. 5 of VL feedback on the predicted clean body, with the scale of the step left to Gauss and Newton: with e the
residuals of the keypoints and of the words, J their derivative by the state (turns, shape, place), P the state's prior
covariance, R that of the residuals, and s how far the state is from the prior's centre, the mode is

    s = P J' S^-1 (e + J s),    S = J P J' + R

The words' residual is the root of the guide's loss, which is wished to be 0, with variance 1 / (2 weight): to first
order its square is the loss. So words move a limb where the keypoints let it move, above all in depth, and never
further than to where they are fulfilled. `descent.py` has the plain gradient, which has no such regard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.fitting.evidence import predict
from hmralign.fitting.keypoint_update import (
    RefinementConfig,
    Residuals,
    geman_mcclure,
    observation_jacobian,
    place,
    prior_covariance,
    tangent_coordinates,
)  # fmt: skip
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.refinement.energy import LEAST_KEYPOINTS, Energy
from hmralign.structures import InputError, PersonGroup

_UNSEEN = 1e6
"""Variance of a keypoint that was not observed, squared tangents."""


@dataclass(frozen=True)
class PullConfig:
    """How hard keypoints and words pull."""

    keypoint_weight: float = 0.05
    """Share of the keypoints' information that counts: the initial answer has mostly seen them before. 0 for none."""
    text_weight: float = 1.0
    """Weight of the guide's loss; 0 for none."""
    pose_sd_deg: float = 8.0
    """Standard deviation of each joint's turn about each axis in the prior."""
    betas_sd: float = 0.3
    """Standard deviation of the shape coefficients in the prior."""
    group_share: float = 0.5
    """Share of the prior's covariance that is the group's, where the doubt of a group is known."""
    steps: int = 1
    """Times that evidence is linearised in one pull."""
    max_turn_deg: float = 25.0
    """No joint turns further in one pull."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.steps < 1 or min(self.keypoint_weight, self.text_weight) < 0 or not 0 <= self.group_share <= 1:
            raise InputError("pull: steps must be at least 1, weights not negative, group_share in 0..1")
        if min(self.pose_sd_deg, self.betas_sd, self.max_turn_deg) <= 0:
            raise InputError("pull: pose_sd_deg, betas_sd and max_turn_deg must be positive")


@dataclass(frozen=True)
class Pull:
    """Moves bodies to the mode of prior times evidence."""

    energy: Energy
    config: PullConfig
    covariance: Float[Tensor, "person 72 72"]

    @staticmethod
    def of(energy: Energy, config: PullConfig, doubt: PersonGroup | None = None) -> Pull:
        """With a prior that is the same for all joints, or partly the covariance of a group of each person."""
        turns = energy.start.rotmats.new_zeros(len(energy.start.rotmats), 1, 72)
        if doubt is not None:
            _, turns = tangent_coordinates(doubt.rotmats)
        mixed = RefinementConfig(own_share=config.group_share, floor_deg=config.pose_sd_deg)
        return Pull(energy, config, prior_covariance(turns, mixed))

    def __call__(
        self, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> tuple[Float[Tensor, "person 24 3 3"], Float[Tensor, "person betas"]]:
        """The bodies after `steps` steps, the prior being centred at where they are now."""
        P = self._state_covariance(betas.shape[-1])  # (B, S, S)
        state = P.new_zeros(P.shape[:-1])  # (B, S)
        now = rotmats, betas
        for _ in range(self.config.steps):
            state = self._bounded(self._mode(*now, P, state))
            turned = rotmats @ rotvec_to_rotmat(state[:, :72].unflatten(-1, (24, 3)))
            now = turned, (betas + state[:, 72:-3]).clamp(-4, 4)
        return now

    def _mode(
        self,
        rotmats: Tensor,
        betas: Tensor,
        P: Float[Tensor, "person state state"],
        state: Float[Tensor, "person state"],
    ) -> Float[Tensor, "person state"]:
        """Mode of the posterior, linearised at the bodies that are at `state`."""
        fit, config = self.energy.fit, self.config
        model = predict(fit.body, rotmats[:, None], betas[:, None], fit.evidence.noise.offsets, derivatives=True)
        residual = place(model.points, fit.evidence, fit.config)
        J = observation_jacobian(model.d_rotation, model.d_betas, model.points, residual.transl)[:, 0]  # (B, 54, S)
        variance = self._variance(residual).repeat_interleave(2, dim=-1)  # (B, 54)
        error = residual.error[:, 0].flatten(-2)  # (B, 54)
        if config.text_weight:
            wish, row = self._wish(rotmats, betas, P.shape[-1])
            J, error = torch.cat([J, row[:, None]], dim=1), torch.cat([error, -wish[:, None]], dim=1)  # (B, 55, S)
            variance = torch.cat([variance, torch.full_like(wish[:, None], 0.5 / config.text_weight)], dim=1)
        PJ = P @ J.mT  # (B, S, 55)
        innovation = error[..., None] + J @ state[..., None]  # (B, 55, 1)
        return (PJ @ torch.linalg.solve(J @ PJ + torch.diag_embed(variance), innovation))[..., 0]

    def _variance(self, residual: Residuals) -> Float[Tensor, "person 27"]:
        """Variance of each keypoint, squared tangents: larger for one that disagrees, or that counts for little."""
        fit = self.energy.fit
        confidence = fit.evidence.confidence
        counts = (confidence > 0) & ((confidence > 0).sum(-1, keepdim=True) >= LEAST_KEYPOINTS)
        agrees = geman_mcclure(residual.error.norm(dim=-1) / residual.sigma, fit.config.robust)[:, 0]  # (B, 27)
        information = (agrees * self.config.keypoint_weight).clamp(min=1e-9)
        return torch.where(counts, residual.sigma[:, 0].square() / information, _UNSEEN).clamp(max=_UNSEEN)

    def _wish(self, rotmats: Tensor, betas: Tensor, size: int) -> tuple[Float[Tensor, " person"], Tensor]:
        """Root of the guide's loss and its derivative by the state; both 0 where nothing is left to wish."""
        loss, gradient = self.energy.text_and_turn_gradient(rotmats, betas)
        root = loss.clamp(min=0).sqrt()
        row = rotmats.new_zeros(len(rotmats), size)
        row[:, :72] = (gradient / (2 * root.clamp(min=1e-4))[:, None, None]).flatten(-2)
        return root, row

    def _state_covariance(self, num_betas: int) -> Float[Tensor, "person state state"]:
        """Turns, shape, translation; the translation is as good as free."""
        size = 72 + num_betas + 3
        P = self.covariance.new_zeros(len(self.covariance), size, size)
        P[:, :72, :72] = self.covariance
        P[:, range(72, size - 3), range(72, size - 3)] = self.config.betas_sd**2
        P[:, range(size - 3, size), range(size - 3, size)] = P.new_tensor([0.25, 0.25, 1.0])
        return P

    def _bounded(self, state: Float[Tensor, "person state"]) -> Float[Tensor, "person state"]:
        limit = math.radians(self.config.max_turn_deg)
        turns = state[:, :72].unflatten(-1, (24, 3))
        turns = turns * (limit / turns.norm(dim=-1, keepdim=True).clamp(min=limit))
        return torch.cat([turns.flatten(-2), state[:, 72:]], dim=-1)
