"""Rotations.  Matrices inside; conversions are RoMa's (Bregier 2021), named `a_to_b` as in the rest of the package.

RoMa is imported where it is used: with it comes torch's compiler, seconds that a help page or a refusal need not pay.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.nearest_rotation import nearest_rotation


def rotvec_to_rotmat(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Axis-angle (radians) to matrix."""
    import roma

    return roma.rotvec_to_rotmat(rotvec)


def rotmat_to_rotvec(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Matrix to axis-angle with an angle in [0, pi]."""
    import roma

    return roma.rotmat_to_rotvec(rotmat)


def rotmat_to_rot6d(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two columns, one after the other (Zhou et al. 2019, sec. 4.1)."""
    return rotmat[..., :2].mT.flatten(-2)


def rot6d_to_rotmat(rot6d: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation whose first two columns are two vectors made orthonormal in turn (Zhou et al. 2019, eq. 15).

    Any length will do, and so will any angle between the two. A zero vector, or two parallel ones, give no rotation,
    but no NaN either.
    """
    first, second = rot6d.unflatten(-1, (2, 3)).unbind(-2)  # (*B, 3) each
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def rotmat_angle(a: Float[Tensor, "*batch 3 3"], b: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Geodesic distance in radians, accurate near 0 as well as near pi.

    |a - b|_F = 2 sqrt(2) sin(angle / 2); the half-angle form keeps float32 digits where arccos of the trace loses them.
    """
    chord = torch.linalg.matrix_norm(a - b) / (2 * 2**0.5)
    return 2 * torch.asin(chord.clamp(max=1.0))


def project_to_rotmat(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Nearest rotation (determinant +1) in the Frobenius norm."""
    return nearest_rotation(matrix)


def mean_rotmat(
    rotmats: Float[Tensor, "*batch n 3 3"], weights: Float[Tensor, "*batch n"] | None = None
) -> Float[Tensor, "*batch 3 3"]:
    """Chordal L2 mean over the axis `n` (Hartley et al. 2013, sec. 5.3), optionally weighted (weights >= 0)."""
    if weights is None:
        return project_to_rotmat(rotmats.mean(dim=-3))
    return project_to_rotmat((weights[..., None, None] * rotmats).sum(dim=-3))


def random_rotmat(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*batch 3 3"]:
    """Uniform rotations: normalised Gaussian quaternions."""
    import roma

    quat_xyzw = torch.randn((*shape, 4), generator=generator)
    return roma.unitquat_to_rotmat(quat_xyzw / quat_xyzw.norm(dim=-1, keepdim=True))


def axis_rotmat(axis: str, angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Turn by `angle` radians about a coordinate axis, `"x"`, `"y"` or `"z"`."""
    rotvec = torch.zeros((*angle.shape, 3), dtype=angle.dtype, device=angle.device)
    rotvec[..., "xyz".index(axis)] = angle
    return rotvec_to_rotmat(rotvec)
