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


def tilt_surprise(
    body_pose: Float[Tensor, "*batch 23 3 3"], up_in_pelvis: Float[Tensor, "*batch 3"], doubt: float = 0.1
) -> Float[Tensor, "*batch"]:
    """How unusual it is for the pose that this way is up, under the shipped training prior; nats, up to a constant.

    Who stands is seldom tilted, who bends is tilted forward. With the probability `doubt` up is anywhere, so that
    nobody who lies or climbs costs without bound. `up_in_pelvis` is unit; the density is that of its three numbers.
    """
    prior, angles = load_pose_prior("train"), _angles(body_pose)
    known = _log_density(prior, torch.cat([angles, up_in_pelvis], -1)) - _log_density(prior, angles)
    anywhere = torch.tensor(doubt / (4 * np.pi)).to(known).log()
    return -torch.logaddexp(known + np.log1p(-doubt), anywhere)


@lru_cache(maxsize=1)
def _own_mean() -> float:
    prior = load_pose_prior("train")
    poses, _ = prior.sample(_DRAWS, torch.Generator().manual_seed(0))
    return float(_minus_log_density(prior, poses).mean())


def _minus_log_density(prior: PosePrior, body_pose: Float[Tensor, "*batch 23 3 3"]) -> Float[Tensor, "*batch"]:
    """Per angle."""
    angles = _angles(body_pose)
    return -_log_density(prior, angles) / angles.shape[-1]


def _angles(body_pose: Float[Tensor, "*batch 23 3 3"]) -> Float[Tensor, "*batch angles"]:
    moving = [j - 1 for j in MOVING_JOINTS]
    return rotmat_to_rotvec(body_pose[..., moving, :, :]).flatten(-2)


def _log_density(prior: PosePrior, features: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
    """Log density of the first so many features under the prior; the others are integrated out."""
    size = features.shape[-1]
    factors = prior.cholesky[:, :size, :size].to(features)
    centred = features[..., None, :] - prior.means[:, :size].to(features)  # (*batch, component, size)
    rows = centred.reshape(-1, *centred.shape[-2:]).permute(1, 2, 0)
    white = torch.linalg.solve_triangular(factors, rows, upper=False)
    log_volume = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + size / 2 * np.log(2 * np.pi)
    log_parts = prior.weights.to(features).log() - log_volume - 0.5 * white.square().sum(1).mT
    return log_parts.logsumexp(-1).reshape(features.shape[:-1])
