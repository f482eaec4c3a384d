"""The rotation nearest to a matrix, in closed form.  Source: Markley 1993, "Attitude determination using vector
observations: a fast optimal matrix algorithm", eqs. 10-21; the derivative as in Papadopoulo & Lourakis 2000.

| in code        | symbol in the paper                                                          |
| -------------- | ---------------------------------------------------------------------------- |
| `M`            | B, here of Frobenius norm 1                                                  |
| `largest`      | lambda = s1 + s2 +- s3, the trace of R^T M                                   |
| `kappa`        | kappa = s1 s2 +- s2 s3 +- s1 s3                                              |
| `zeta`         | zeta = (s1 + s2)(s2 +- s3)(s1 +- s3), which vanishes where R is not unique    |

    R = ((kappa + 1) M + lambda adj(M)^T - M M^T M) / zeta

with singular values s1 >= s2 >= s3 and the sign of det M: the determinant of R is +1 whatever that of M is. It takes
sums and products alone, so a large batch costs a fraction of its decompositions. Where R is almost not unique, zeta has
too few digits, and those matrices alone are decomposed.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_UNIQUE = 3e-3
"""Smallest zeta with enough digits: rounding comes to R divided by its square, 1e-10 at most."""

_DAMPING = 1e-5
"""Sums of singular values below which the derivative is bounded: it has no limit where R is not unique."""


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation R (determinant +1) that minimises |R - matrix|, float64 inside; the identity for a matrix of zeros.

    Where several do equally well it is one of them, and its derivative is damped. Not-finite matrices give NaN.
    """
    found = _NearestRotation.apply(matrix.double().reshape(-1, 3, 3))
    return found.reshape(matrix.shape).to(matrix.dtype)


class _NearestRotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, M: Tensor) -> Tensor:
        R = _closed_form(M)
        ctx.save_for_backward(M, R)
        return R

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """dR = R [w]x with C w = the axial vector of R^T dM, C = tr(S) 1 - S and S = R^T M, which is symmetric."""
        M, R = ctx.saved_tensors
        S = R.mT @ M
        eye = torch.eye(3, dtype=M.dtype, device=M.device)
        C = S.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] * eye - (S + S.mT) / 2
        turned = _axial(R.mT @ gradients[0])
        w = torch.linalg.solve(C @ C + _DAMPING**2 * eye, C @ turned[..., None])[..., 0]
        x, y, z = w.unbind(-1)
        zero = torch.zeros_like(x)
        return R @ torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def _axial(X: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3"]:
    return torch.stack([X[:, 2, 1] - X[:, 1, 2], X[:, 0, 2] - X[:, 2, 0], X[:, 1, 0] - X[:, 0, 1]], dim=-1)


def _closed_form(matrix: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
    norm = torch.linalg.vector_norm(matrix.flatten(1), dim=1)
    # 1. One row per entry: sums and products then run along memory.
    m = (matrix.flatten(1).mT / torch.where(norm > 0, norm, 1.0)).contiguous()  # (9, n)
    a, b, c, d, e, f, g, h, i = m
    minors = torch.stack(
        [e * i - f * h, f * g - d * i, d * h - e * g, c * h - b * i, a * i - c * g, b * g - a * h,
         b * f - c * e, c * d - a * f, a * e - b * d]
    )  # fmt: skip  # (9, n): adj(M)^T
    det = (m[:3] * minors[:3]).sum(0)
    # 2. lambda and what follows from it
    largest = _largest(minors.square().sum(0), det)
    kappa = (largest * largest - 1) / 2
    zeta = kappa * largest - det
    # 3. M M^T M by rows
    rows = m.view(3, 3, -1)
    gram = (rows[:, None] * rows[None]).sum(2)  # (3, 3, n): M M^T
    cubed = (gram[:, :, None] * rows[None]).sum(1)  # (3, 3, n)
    R = ((kappa + 1) * m + largest * minors - cubed.flatten(0, 1)) / zeta
    R = R.mT.reshape(-1, 3, 3)
    ambiguous = zeta <= _UNIQUE
    if R.is_meta or not bool(ambiguous.any()):  # tensors of the `meta` device have no values to ask
        return R
    return _decomposed(matrix, R, ambiguous)


def _largest(cofactors: Float[Tensor, " n"], det: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """lambda of matrices of norm 1 with that |adj M|^2 and det M, the largest root of Horn's quartic (1987).

    s1^2 is the largest root of x^3 - x^2 + |adj M|^2 x - (det M)^2 (by cosines, Smith 1961), and (s2 +- s3)^2 is
    1 - s1^2 + 2 det M / s1. Cosines leave half of the digits where two values are equal; two of Newton's steps on
    (x^2 - 1)^2 - 8 det M x - 4 |adj M|^2, whose slope at the root is 8 zeta, bring them back.
    """
    p = ((1 - 3 * cofactors) / 9).clamp(min=0)
    q = det * det - cofactors / 3 + 2 / 27
    angle = torch.acos((q / (2 * p * p.sqrt()).clamp(min=1e-300)).clamp(-1, 1)) / 3
    first = (1 / 3 + 2 * p.sqrt() * torch.cos(angle)).sqrt()
    x = first + (1 - first * first + 2 * det / first).clamp(min=0).sqrt()
    for _ in range(2):
        square = x * x - 1
        x = x - (square * square - 8 * det * x - 4 * cofactors) / (4 * x * square - 8 * det).clamp(min=_UNIQUE)
    return x


def _decomposed(M: Float[Tensor, "n 3 3"], R: Float[Tensor, "n 3 3"], which: Tensor) -> Float[Tensor, "n 3 3"]:
    U, s, Vh = torch.linalg.svd(M[which])
    flip = torch.ones_like(s)
    flip[:, 2] = (torch.linalg.det(U) * torch.linalg.det(Vh)).sign()
    turned = (U * flip[:, None]) @ Vh
    zero = (M[which] == 0).all(-1).all(-1)[:, None, None]
    eye = torch.eye(3, dtype=M.dtype, device=M.device)
    R = R.clone()
    R[which] = torch.where(zero, eye, turned)
    return R
