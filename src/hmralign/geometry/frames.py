"""Turning and mirroring the pose of an SMPL-shaped body, and the trap in moving one.

Such a body turns about its *pelvis*, then `transl` is added. Multiplying `global_orient` and `transl` by a rotation R
therefore moves the vertices by something else, unless the rest pelvis J0 is the origin. A vertex is
v = G (r - J0) + J0 + transl with r its place before the root turns, hence R v = (R G)(r - J0) + J0 + transl' with
transl' = R (transl + J0) - J0. See the note on `transl` in the SMPL-X documentation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError
from hmralign.structures.counted import counted

CAM_TO_Y_UP = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
"""From the `cam` frame (x right, y down, z forward) to y up, x right, z towards the viewer: glTF's and BVH's axes."""

Y_UP_TO_Z_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
"""From y up to z up, the viewer looking along +y: AMASS' axes."""


def turn_body(
    global_orient: Float[Tensor, "*batch 3 3"],
    transl: Float[Tensor, "*batch 3"],
    pelvis: Float[Tensor, "*#batch 3"],
    turn: Float[Tensor, "3 3"],
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Root rotation and translation (metres) of the same body seen in axes turned by `turn`.

    `pelvis` is the rest pelvis J0 of the body's shape, about which it turns.
    """
    return turn @ global_orient, (transl + pelvis) @ turn.mT - pelvis


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
            f"mirror_rotmats: a table of {counted(len(table), 'entry')} does not pair up "
            f"{counted(len(joints), 'joint')}; "
            "expected each joint's counterpart, and back."
        )
    flip = rotmats.new_tensor([-1.0, 1.0, 1.0])
    return rotmats[..., torch.tensor(table, device=rotmats.device), :, :] * flip[:, None] * flip
