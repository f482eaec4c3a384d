"""Guidance: a body, believed to be right up to a prior, is moved towards keypoints and words.

Eq. 5 of VL feedback on the predicted clean body, with the scale of the step left to Gauss and Newton: with e the
residuals of the keypoints and of the words, J their derivative by the state (turns, shape, place), P the state's prior
covariance, R that of the residuals, and s how far the state is from the prior's centre, the mode is

    s = P J' S^-1 (e + J s),    S = J P J' + R

The words' residual is the root of the guide's loss, which is wished to be 0, with variance 1 / (2 weight): to first
order its square is the loss. So words move a limb where the keypoints let it move, above all in depth, and never
further than to where they are fulfilled. `descent.py` has the plain gradient, which has no such regard.

With several steps the prior stays centred where the pull began. Keypoints have the say that they had there, so that
those which the body explained are not outvoted by words that draw it away from them. In the first half of the steps
they get it little by little, since a limb may have to leave its keypoints to come back to them at another depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
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
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.refinement.energy import LEAST_KEYPOINTS, Energy
from hmralign.structures import InputError, PersonGroup

Body = tuple[Float[Tensor, "person 24 3 3"], Float[Tensor, "person betas"]]
"""Rotations in the person frame, and shapes."""
_UNSEEN = 1e6
"""Variance of a keypoint that was not observed, squared tangents."""
_HALVINGS = 5
"""Times that a step which raises the energy is halved before it is left out."""


@dataclass(frozen=True)
class PullConfig:
    """How hard keypoints and words pull."""

    keypoint_weight: float = 0.05
    """Share of the keypoints' information that counts: the initial answer has mostly seen them before. 0 for none."""
    text_weight: float = 1.0
    """Weight of the guide's loss; 0 for none."""
    limit_weight: float = 0.0
    """Weight of the squared radians by which joints leave their ranges of motion further than at first; 0 for none."""
    pose_sd_deg: float = 8.0
    """Standard deviation of each joint's turn about each axis in the prior."""
    betas_sd: float = 0.3
    """Standard deviation of the shape coefficients in the prior."""
    group_share: float = 0.5
    """Share of the prior's covariance that is the group's, where the doubt of a group is known."""
    others_share: float = 1.0
    """Standard deviation of the joints that words do not name, as a share of those that they name; 1 for alike."""
    steps: int = 1
    """Times that evidence is linearised in one pull."""
    max_turn_deg: float = 25.0
    """No joint turns further in one step of a pull."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        weights = (self.keypoint_weight, self.text_weight, self.limit_weight)
        if self.steps < 1 or not all(0 <= w < math.inf for w in weights) or not 0 <= self.group_share <= 1:
            raise InputError("pull: steps must be at least 1, weights numbers from 0 up, group_share in 0..1")
        if min(self.pose_sd_deg, self.betas_sd, self.max_turn_deg) <= 0 or not 0 < self.others_share <= 1:
            raise InputError("pull: pose_sd_deg, betas_sd and max_turn_deg must be positive, others_share in 0..1")


@dataclass(frozen=True)
class Pull:
    """Moves bodies to the mode of prior times evidence."""

    energy: Energy
    config: PullConfig
    covariance: Float[Tensor, "person 72 72"]

    @staticmethod
    def of(
        energy: Energy,
        config: PullConfig,
        doubt: PersonGroup | None = None,
        named: Bool[Tensor, "person 24"] | None = None,
    ) -> Pull:
        """With a prior that is the same for all joints, or partly the covariance of a group of each person.

        Joints that are not `named` turn less freely, by `others_share`.
        """
        turns = energy.start.rotmats.new_zeros(len(energy.start.rotmats), 1, 72)
        if doubt is not None:
            _, turns = tangent_coordinates(doubt.rotmats)
        mixed = RefinementConfig(own_share=config.group_share, floor_deg=config.pose_sd_deg)
        P = prior_covariance(turns, mixed)
        if named is not None:
            share = torch.where(named, 1.0, config.others_share).to(P).repeat_interleave(3, dim=-1)  # (B, 72)
            P = share[:, :, None] * P * share[:, None, :]
        return Pull(energy, config, P)

    def __call__(
        self, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> tuple[Float[Tensor, "person 24 3 3"], Float[Tensor, "person betas"]]:
        """The bodies after `steps` steps, the prior being centred at where they are now."""
        P = self._state_covariance(betas.shape[-1])  # (B, S, S)
        state = P.new_zeros(P.shape[:-1])  # (B, S)
        if self.config.steps == 1:
            return _moved(rotmats, betas, self._bounded(self._mode(rotmats, betas, P, state)))
        agrees = self._agreement(self._placed(rotmats, betas))
        centre = now = rotmats, betas
        for index in range(self.config.steps):
            say = agrees * min((2 * index / self.config.steps) ** 2, 1.0)
            step = self._bounded(self._mode(*now, P, state, say) - state)
            now = self._lowered(centre, now, step, P, say)
            state = _state_at(centre, now)
        # A limb that did not come back stays where it was.
        worse = self._raised(centre, now, P, agrees) > self._raised(centre, centre, P, agrees)
        return torch.where(worse[:, None, None, None], rotmats, now[0]), torch.where(worse[:, None], betas, now[1])

    def _lowered(self, centre: Body, now: Body, step: Tensor, P: Tensor, agrees: Tensor) -> Body:
        """Bodies after the step, or after as little of it as lowers what is wanted low; else as they are."""
        before = self._raised(centre, now, P, agrees)  # (B)
        share = torch.ones_like(before)
        for _ in range(_HALVINGS):
            worse = self._raised(centre, _moved(*now, share[:, None] * step), P, agrees) > before
            share = torch.where(worse, share / 2, share)
            if not bool(worse.any()):
                break
        worse = self._raised(centre, _moved(*now, share[:, None] * step), P, agrees) > before
        return _moved(*now, torch.where(worse, 0.0, share)[:, None] * step)

    @torch.no_grad()
    def _raised(self, centre: Body, now: Body, P: Tensor, agrees: Tensor) -> Float[Tensor, " person"]:
        """Minus the logarithm of the posterior, up to a constant, keypoints having the say that is given."""
        away = _state_at(centre, now)[:, :-3]
        prior = (away * torch.linalg.solve(P[:, :-3, :-3], away)).sum(-1) / 2
        residual = self._placed(*now)
        squared = residual.error[:, 0].square().sum(-1) / self._variance(residual, agrees)  # (B, 27)
        wishes = self.config.text_weight * self.energy.text(*now)
        limits = self.config.limit_weight * self.energy.limits(now[0]) if self.config.limit_weight else 0.0
        return prior + squared.sum(-1) / 2 + wishes + limits

    def _placed(self, rotmats: Tensor, betas: Tensor) -> Residuals:
        return place(self.energy.points(rotmats, betas)[:, None], self.energy.fit.evidence, self.energy.fit.config)

    def _mode(
        self,
        rotmats: Tensor,
        betas: Tensor,
        P: Float[Tensor, "person state state"],
        state: Float[Tensor, "person state"],
        agrees: Float[Tensor, "person 27"] | None = None,
    ) -> Float[Tensor, "person state"]:
        """Mode of the posterior, linearised at the bodies that are at `state`."""
        fit = self.energy.fit
        model = predict(fit.body, rotmats[:, None], betas[:, None], fit.evidence.noise.offsets, derivatives=True)
        residual = place(model.points, fit.evidence, fit.config)
        J = observation_jacobian(model.d_rotation, model.d_betas, model.points, residual.transl)[:, 0]  # (B, 54, S)
        agrees = self._agreement(residual) if agrees is None else agrees
        variance = self._variance(residual, agrees).repeat_interleave(2, dim=-1)  # (B, 54)
        error = residual.error[:, 0].flatten(-2)  # (B, 54)
        for weight, losses in self._losses(rotmats, betas):
            root, row = _root_and_row(*losses, P.shape[-1])
            J, error = torch.cat([J, row[:, None]], dim=1), torch.cat([error, -root[:, None]], dim=1)  # (B, 55, S)
            variance = torch.cat([variance, torch.full_like(root[:, None], 0.5 / weight)], dim=1)
        # In units of the noise the system is 1 plus what is positive: variances from 1e-6 to 1e6 do not meet in it.
        noise = variance.sqrt()
        J, innovation = J / noise[..., None], (error + (J @ state[..., None])[..., 0]) / noise
        PJ = P @ J.mT  # (B, S, 55)
        S = J @ PJ + torch.eye(J.shape[1]).to(J)
        return (PJ @ torch.linalg.solve(S, innovation[..., None]))[..., 0]

    def _agreement(self, residual: Residuals) -> Float[Tensor, "person 27"]:
        """Say of each keypoint, 0 to 1: less for one that disagrees with the body."""
        away = residual.error.norm(dim=-1) / residual.sigma
        return geman_mcclure(away, self.energy.fit.config.robust)[:, 0]

    def _variance(self, residual: Residuals, agrees: Float[Tensor, "person 27"]) -> Float[Tensor, "person 27"]:
        """Variance of each keypoint, squared tangents: larger for one that disagrees, or that counts for little."""
        confidence = self.energy.fit.evidence.confidence
        counts = (confidence > 0) & ((confidence > 0).sum(-1, keepdim=True) >= LEAST_KEYPOINTS)
        information = (agrees * self.config.keypoint_weight).clamp(min=1e-9)
        return torch.where(counts, residual.sigma[:, 0].square() / information, _UNSEEN).clamp(max=_UNSEEN)

    def _losses(self, rotmats: Tensor, betas: Tensor) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:
        """What is wanted low besides the keypoints: its weight, with values (person,) and derivatives by turns."""
        if self.config.text_weight:
            yield self.config.text_weight, self.energy.text_and_turn_gradient(rotmats, betas)
        if self.config.limit_weight:
            yield self.config.limit_weight, self.energy.limits_and_turn_gradient(rotmats)

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


def _root_and_row(loss: Tensor, gradient: Tensor, size: int) -> tuple[Float[Tensor, " person"], Tensor]:
    """Root of a loss and its derivative by the state; both 0 where nothing is left to wish."""
    root = loss.clamp(min=0).sqrt()
    row = loss.new_zeros(len(loss), size)
    row[:, :72] = (gradient / (2 * root.clamp(min=1e-4))[:, None, None]).flatten(-2)
    return root, row


def _moved(rotmats: Tensor, betas: Tensor, step: Float[Tensor, "person state"]) -> Body:
    """Bodies after a step of turns, shape and place; the place is found anew wherever it is needed."""
    turned = rotmats @ rotvec_to_rotmat(step[:, :72].unflatten(-1, (24, 3)))
    return turned, (betas + step[:, 72:-3]).clamp(-4, 4)


def _state_at(centre: Body, now: Body) -> Float[Tensor, "person state"]:
    """How far bodies are from the centre: right turns, shape, and a place that is never off."""
    turns = rotmat_to_rotvec(centre[0].mT @ now[0]).flatten(-2)  # (B, 72)
    return torch.cat([turns, now[1] - centre[1], turns.new_zeros(len(turns), 3)], dim=-1)
