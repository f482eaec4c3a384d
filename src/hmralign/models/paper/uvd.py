"""The papers' diffused sample: 29 joints as pixels of the crop and depth from the pelvis, and 23 twists; 133 numbers.

    u' = 50 (2 u / 256 - 1)   v' alike   d' = 50 d, d in metres   twist' = 50 (cos, sin)

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2: u and v are pixel numbers of the
256 x 256 crop, and the cube around the pelvis has 2 metres. A cosine and sine that are sampled are not of unit length.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import MIRROR_JOINTS, NUM_ALL_JOINTS, NUM_JOINTS, NUM_TWISTS
from hmralign.models.paper.config import UVD_DIM

SCALE = 50.0
"""Factor on coordinates of -1 to 1."""


def pack_uvd(
    uv: Float[Tensor, "*batch 29 2"],
    depth: Float[Tensor, "*batch 29"],
    twist_cos_sin: Float[Tensor, "*batch 23 2"],
    size: int,
) -> Float[Tensor, "*batch 133"]:
    """A sample of joints (pixels of a crop of that size, metres from the pelvis) and twists."""
    joints = torch.cat([2 * uv / size - 1, depth[..., None]], dim=-1)  # (*B, 29, 3)
    return SCALE * torch.cat([joints.flatten(-2), twist_cos_sin.flatten(-2)], dim=-1)


def unpack_uvd(
    x_0: Float[Tensor, "*batch 133"], size: int
) -> tuple[Float[Tensor, "*batch 29 2"], Float[Tensor, "*batch 29"], Float[Tensor, "*batch 23 2"]]:
    """Joints in pixels of a crop of that size, their depths from the pelvis in metres, and twists (not normalised)."""
    joints = unit_sample(x_0)[..., :UVD_DIM].unflatten(-1, (NUM_ALL_JOINTS, 3))
    twists = unit_sample(x_0)[..., UVD_DIM:].unflatten(-1, (NUM_TWISTS, 2))
    return (joints[..., :2] + 1) / 2 * size, joints[..., 2], twists


def mirrored_sample(x_0: Float[Tensor, "*any 133"], size: int) -> Float[Tensor, "*any 133"]:
    """The sample of the mirrored body over the mirrored crop: sides change places, u and twists' sines change signs.

    It is its own inverse.
    """
    uv, depth, twist = unpack_uvd(x_0, size)
    swap, swap_twists = list(MIRROR_JOINTS), [joint - 1 for joint in MIRROR_JOINTS[1:NUM_JOINTS]]
    uv = torch.stack([size - 1 - uv[..., 0], uv[..., 1]], dim=-1)[..., swap, :]
    return pack_uvd(uv, depth[..., swap], twist[..., swap_twists, :] * twist.new_tensor([1.0, -1.0]), size)


def unit_sample(x_0: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """u, v of -1 to 1 over the crop, d in metres, twists of about unit length: what the scorers see."""
    return x_0 / SCALE
