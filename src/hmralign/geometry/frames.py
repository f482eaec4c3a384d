"""Moving a whole SMPL-shaped body, and mirroring its pose.

The trap these functions exist for: such a body turns about its *pelvis*, then `transl` is added, so multiplying
`global_orient` and `transl` by a rotation moves the vertices by something else unless the pelvis is at the origin of
the rest frame. See the note on `transl` in the SMPL-X documentation; derivation in `rotate_body`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import BodyParams, InputError


def rotate_body(R: Float[Tensor, "*batch 3 3"], body: BodyParams, pelvis_rest: Float[Tensor, "*batch 3"]) -> BodyParams:
    """The body whose every vertex v is moved to R v: turned about the origin of the frame it is given in.

    `pelvis_rest` is the pelvis J0 of the shaped rest body (metres; it depends on betas, and is zero for bodies built
    around their pelvis). A vertex is v = G (r - J0) + J0 + transl with r its place before the root turns, hence
    R v = (R G)(r - J0) + J0 + [R (transl + J0) - J0].
    """
    turned = (R @ (body.transl + pelvis_rest)[..., None])[..., 0] - pelvis_rest
    return replace(body, global_orient=R @ body.global_orient, transl=turned)


def translate(body: BodyParams, offset: Float[Tensor, "*batch 3"]) -> BodyParams:
    """The body moved by `offset` (metres)."""
    return body.with_transl(body.transl + offset)


def mirror_rotmats(
    rotmats: Float[Tensor, "*batch joints 3 3"], mirror_joints: Sequence[int]
) -> Float[Tensor, "*batch joints 3 3"]:
    """Parent-relative rotations, root first, of the body mirrored in the plane x = 0.

    `mirror_joints[i]` is the left/right counterpart of joint i (the first 24 entries of `MIRROR_JOINTS` for 24
    rotations). A rest body that is symmetric in x and posed so, with the x of its `transl` negated, is the mirror image
    of the original. Raises `InputError` when the table does not fit the joints or is not its own inverse.
    """
    table = list(mirror_joints)
    joints = list(range(rotmats.shape[-3]))
    if sorted(table) != joints or [table[i] for i in table] != joints:
        raise InputError(
            f"mirror_rotmats: a table of {len(table)} entries does not pair up {len(joints)} joints; "
            "expected each joint's counterpart, and back."
        )
    flip = rotmats.new_tensor([-1.0, 1.0, 1.0])
    return rotmats[..., torch.tensor(table, device=rotmats.device), :, :] * flip[:, None] * flip
