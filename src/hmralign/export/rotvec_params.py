"""SMPL-style parameters as rotation vectors: what other programs of this field take."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.structures import BodyParams


def rotvec_params(body: BodyParams) -> dict[str, Float[Tensor, "*batch values"]]:
    """`global_orient` (..., 3) and `body_pose` (..., 69) axis-angle in radians, `betas`, `transl` (..., 3) in metres.

    Names, joint order, rotations and `transl` are SMPL's, the frame is that of `body`; the betas are those of the body
    that was recovered, and mean nothing to another.
    """
    return {
        "global_orient": rotmat_to_rotvec(body.global_orient),
        "body_pose": rotmat_to_rotvec(body.body_pose).flatten(-2),
        "betas": body.betas,
        "transl": body.transl,
    }
