"""How limbs point out of the picture."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.models.pixel.part_patches import LIMB_JOINTS


def limb_tilts(joints: Float[Tensor, "*batch joints 3"]) -> Float[Tensor, "*batch limbs"]:
    """Sine of the angle by which each limb points away from the camera, along the ray to its start (`cam` frame).

    >>> joints = torch.zeros(29, 3)
    >>> joints[18] = torch.tensor([0.0, 0.0, 1.0])
    >>> joints[16] = torch.tensor([0.0, 0.0, 2.0])  # the left upper arm points at the camera
    >>> float(limb_tilts(joints)[0])
    -1.0
    """
    start, end = (joints[..., [pair[which] for pair in LIMB_JOINTS], :] for which in (0, 1))
    bone = end - start
    ray = torch.nn.functional.normalize(start, dim=-1)
    return (bone * ray).sum(-1) / bone.norm(dim=-1).clamp(min=1e-6)
