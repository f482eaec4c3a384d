"""One answer from a group: means on the rotation manifold, plain or weighted, and picks of a typical member.

| name | answer |
| --- | --- |
| `fuse_rotations` | chordal mean of every joint's rotation, plain or weighted |
| `score_weights` | softmax of a critic's scores, for a weighted mean |
| `likelihood_weights` | weights by the likelihood of the keypoints: the posterior mean of samples of the prior |
| `medoid` | the hypothesis nearest to all others |
| `densest` | the hypothesis with most of the group around it: the highest mode |

Which of them is best was measured (docs/results/fusion.md).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.geometry.rotations import mean_rotmat
from hmralign.structures import InputError


def fuse_rotations(
    rotmats: Float[Tensor, "*batch hyp 24 3 3"], weights: Float[Tensor, "*batch hyp"] | None = None
) -> Float[Tensor, "*batch 24 3 3"]:
    """Mean of parent-relative rotations on the rotation manifold, joint by joint (chordal), optionally weighted."""
    spread_weights = None if weights is None else weights[..., None, :].expand(*weights.shape[:-1], 24, -1)
    return mean_rotmat(rotmats.transpose(-4, -3), spread_weights)  # over (*B, 24, N, 3, 3)


def score_weights(scores: Float[Tensor, "*batch hyp"], temperature: float) -> Float[Tensor, "*batch hyp"]:
    """Softmax of scores over the group; sums to 1. A small temperature picks the best, a large one weighs all alike.

    Scores that are not finite get no weight; a group without a finite score gets equal weights. Raises InputError for a
    temperature that is not positive.
    """
    if not temperature > 0:
        raise InputError(f"temperature is {temperature}; expected a positive number")
    usable = torch.where(torch.isfinite(scores), scores, -torch.inf)
    nobody = torch.isinf(usable).all(-1, keepdim=True)
    return (torch.where(nobody, 0.0, usable) / temperature).softmax(-1)


def likelihood_weights(
    squared_residual: Float[Tensor, "*batch hyp"], temperature: float = 1.0
) -> Float[Tensor, "*batch hyp"]:
    """Weights exp(-chi^2 / 2 / temperature), normalised: importance weights where samples have not seen the keypoints.

    `squared_residual` is chi^2, the sum of squared residuals in standard deviations. Hypotheses of a model that is
    conditioned on the keypoints have seen them already; a temperature above 1 counts them less often twice.
    """
    return score_weights(-squared_residual / 2, temperature)


def medoid(joints: Float[Tensor, "*batch hyp joint 3"]) -> Int[Tensor, "*batch"]:
    """Index of the hypothesis whose mean joint distance to the others of its group is least, pelvis-relative."""
    return _distances(joints).mean(-1).argmin(-1)


def densest(joints: Float[Tensor, "*batch hyp joint 3"], bandwidth: float = 0.06) -> Int[Tensor, "*batch"]:
    """Index of the hypothesis with the highest kernel density (Gaussian kernel on mean joint distance, metres)."""
    return (-0.5 * (_distances(joints) / bandwidth).square()).exp().sum(-1).argmax(-1)


def _distances(joints: Float[Tensor, "*batch hyp joint 3"]) -> Float[Tensor, "*batch hyp hyp"]:
    """Mean joint distance between every two hypotheses, pelvis-relative."""
    relative = joints - joints[..., :1, :]
    return torch.stack([(relative - one[..., None, :, :]).norm(dim=-1).mean(-1) for one in relative.unbind(-3)], -1)
