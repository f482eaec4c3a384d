"""What a refinement lowers: how far bodies are from the keypoints and from what the words say, and its derivatives.

    E(body) = keypoint_weight * chi^2 / 2 + text_weight * loss of the guide + limit_weight * limits

chi^2 is robust (Geman & McClure 1987) and in the measured noise of the detector, so that the keypoint part is a
negative log likelihood. `limits` is how far joints leave their ranges of motion, beyond what the initial body does:
words name an end, and a joint on the way may otherwise twist to where none can. Source: VL feedback, eq. 6 and 7. The
gradient of eq. 6 is by 3D points; that of eq. 7 by parameters, here by turns of the joints, through forward kinematics.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.joint_limits import limit_violation
from hmralign.fitting.evidence import predict
from hmralign.fitting.keypoint_update import place
from hmralign.fitting.person_fit import PersonFit
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.refinement.guide import Guide, NoGuide
from hmralign.refinement.start import Start

LEAST_KEYPOINTS = 2
"""Fewer observed keypoints do not say where a body is: they then say nothing of its pose either."""


@dataclass(frozen=True)
class Energy:
    """Energy of bodies of the fit's persons in the person frame; one body per person."""

    fit: PersonFit
    start: Start
    guide: Guide = field(default_factory=NoGuide)

    def keypoints(
        self, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> Float[Tensor, " person"]:
        """Robust chi^2 / 2 of the keypoints, nats; 0 where fewer than two were observed."""
        return self.of_points(self.points(rotmats, betas))

    def text(
        self, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> Float[Tensor, " person"]:
        """Loss of the guide."""
        return self.guide.loss(*self.start.in_cam(self.fit.body, rotmats, betas))

    def limits(self, rotmats: Float[Tensor, "person 24 3 3"]) -> Float[Tensor, " person"]:
        """Squared radians by which joints are beyond their ranges and further than in the initial body, summed."""
        beyond = limit_violation(rotmats[:, 1:]) - limit_violation(self.start.rotmats[:, 1:])  # (B, 23)
        return beyond.clamp(min=0).square().sum(-1)

    def limits_and_turn_gradient(
        self, rotmats: Float[Tensor, "person 24 3 3"]
    ) -> tuple[Float[Tensor, " person"], Float[Tensor, "person 24 3"]]:
        """`limits`, and its derivative by a right turn of every joint (radians)."""
        with torch.enable_grad():
            turn = torch.zeros(*rotmats.shape[:-2], 3, device=rotmats.device, requires_grad=True)
            loss = self.limits(rotmats.detach() @ rotvec_to_rotmat(turn))
            return loss.detach(), torch.autograd.grad(loss.sum(), turn)[0]

    def points(
        self, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> Float[Tensor, "person 27 3"]:
        """Landmarks of bodies in the person frame, metres, before they are placed."""
        return predict(self.fit.body, rotmats, betas, self.fit.evidence.noise.offsets, derivatives=False).points

    def of_points(self, points: Float[Tensor, "person 27 3"]) -> Float[Tensor, " person"]:
        """`keypoints` of landmarks, which are placed in closed form first."""
        residual = place(points[:, None], self.fit.evidence, self.fit.config)
        confidence = self.fit.evidence.confidence
        sigma = torch.where(confidence > 0, residual.sigma[:, 0].detach(), 1.0)  # (B, 27)
        squared = (residual.error[:, 0] / sigma[..., None]).square().sum(-1)  # (B, 27)
        cutoff = self.fit.config.robust
        if cutoff > 0:
            squared = squared * cutoff**2 / (squared + cutoff**2)
        seen = (confidence > 0).float() * ((confidence > 0).sum(-1, keepdim=True) >= LEAST_KEYPOINTS)
        return (squared * seen).sum(-1) / 2

    def point_gradient(
        self, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> Float[Tensor, "person 27 3"]:
        """Eq. 6: derivative of `keypoints` by the 3D points, nats per metre, person frame."""
        with torch.enable_grad():
            points = self.points(rotmats, betas).detach().requires_grad_()
            return torch.autograd.grad(self.of_points(points).sum(), points)[0]

    def text_and_turn_gradient(
        self, rotmats: Float[Tensor, "person 24 3 3"], betas: Float[Tensor, "person betas"]
    ) -> tuple[Float[Tensor, " person"], Float[Tensor, "person 24 3"]]:
        """`text`, and eq. 7: its derivative by a right turn of every joint (radians)."""
        turn = torch.zeros(*rotmats.shape[:-2], 3, device=rotmats.device)
        if isinstance(self.guide, NoGuide):
            return turn[:, 0, 0], turn
        with torch.enable_grad():
            turn.requires_grad_()
            loss = self.text(rotmats.detach() @ rotvec_to_rotmat(turn), betas.detach())
            return loss.detach(), torch.autograd.grad(loss.sum(), turn)[0]
