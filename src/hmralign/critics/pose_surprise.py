"""How unlikely a pose is among those that people were recorded in: a soft form of joint limits that knows how joints
go together. What is rare is not impossible; a dancer is as surprising as a broken shoulder.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.data.synthetic.pose_prior import MOVING_JOINTS, PosePrior, load_pose_prior
from hmralign.geometry.rotations import rotmat_to_rotvec

_DRAWS = 2000


def pose_surprise(body_pose: Float[Tensor, "*batch 23 3 3"]) -> Float[Tensor, "*batch"]:
    """Minus the log density under the shipped training prior, per angle, beyond what its own poses have on average.

    Nats per angle; 0 for a pose as likely as the prior's own, negative for likelier ones. Which way is up, which the
    prior knows as well, is integrated out: the last rows of a Cholesky factor are then simply not used.
    """
    return _minus_log_density(load_pose_prior("train"), body_pose) - _own_mean()


@lru_cache(maxsize=1)
def _own_mean() -> float:
    prior = load_pose_prior("train")
    poses, _ = prior.sample(_DRAWS, torch.Generator().manual_seed(0))
    return float(_minus_log_density(prior, poses).mean())


def _minus_log_density(prior: PosePrior, body_pose: Float[Tensor, "*batch 23 3 3"]) -> Float[Tensor, "*batch"]:
    """Per angle."""
    moving = [j - 1 for j in MOVING_JOINTS]
    angles = rotmat_to_rotvec(body_pose[..., moving, :, :]).flatten(-2)
    size = angles.shape[-1]
    factors = prior.cholesky[:, :size, :size].to(angles)
    centred = angles[..., None, :] - prior.means[:, :size].to(angles)  # (*batch, component, angle)
    rows = centred.reshape(-1, *centred.shape[-2:]).permute(1, 2, 0)
    white = torch.linalg.solve_triangular(factors, rows, upper=False)
    log_volume = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + size / 2 * np.log(2 * np.pi)
    log_parts = prior.weights.to(angles).log() - log_volume - 0.5 * white.square().sum(1).mT
    return -log_parts.logsumexp(-1).reshape(angles.shape[:-1]) / size
