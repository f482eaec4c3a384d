"""Persons seen by a ring of cameras, drawn once and kept: what networks that read views are trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.views import ViewMix, sample_views
from hmralign.rendering.ring import RingCameras, body_centre
from hmralign.structures import BodyParams, TensorRecord

_AT_ONCE = 256


@dataclass(frozen=True)
class RingPersons(TensorRecord):
    """Views of persons, and their joints."""

    pixels: Float[Tensor, "*person view 4 h w"]
    """As in `MultiViews`, in half precision: a bank of thousands is kept in memory."""
    joints: Float[Tensor, "*person 24 3"]
    """Metres from the middle of the body's bounding box, in the photo's `cam` axes."""


def drawn_ring_persons(
    body: BodyModel, source: PoseSource, views: ViewMix, ring: RingCameras, count: int, generator: torch.Generator
) -> RingPersons:
    """`count` persons in poses of a source, of shapes at random, turned as cameras at random see them."""
    parts = []
    for start in range(0, count, _AT_ONCE):
        n = min(_AT_ONCE, count - start)
        body_pose, up = source.sample(n, generator)
        turn = sample_views(up, views, generator).global_orient
        betas = torch.randn(n, body.num_betas, generator=generator).clamp(-3, 3)
        parts.append(rendered_persons(body, BodyParams(turn, body_pose, betas, torch.zeros(n, 3)), ring))
    return RingPersons.cat(parts)


def rendered_persons(body: BodyModel, params: BodyParams, ring: RingCameras) -> RingPersons:
    """Views of given bodies, one batch axis."""
    mesh = vertices(body, params)
    joints = posed_joints(body, params)[:, :NUM_JOINTS] - body_centre(mesh)[:, None]
    return RingPersons(ring.render(mesh, body.faces).pixels.half(), joints)


def joint_pixels(joints: Float[Tensor, "*person 24 3"], ring: RingCameras) -> Float[Tensor, "*person view 24 2"]:
    """Where joints fall in each view; joints are metres from the middle of the ring."""
    return ring.project(joints, torch.zeros_like(joints[..., 0, :]))[0]


def mirrored_view(
    pixels: Float[Tensor, "n 4 h w"], places: Float[Tensor, "n 24 2"]
) -> tuple[Float[Tensor, "n 4 h w"], Float[Tensor, "n 24 2"]]:
    """Single views of the mirror image, and where its joints fall."""
    flipped = pixels.flip(-1) * pixels.new_tensor([-1.0, 1.0, 1.0, 1.0]).view(4, 1, 1)
    swapped = places[:, list(MIRROR_JOINTS[:NUM_JOINTS])]
    return flipped, torch.stack([pixels.shape[-1] - 1 - swapped[..., 0], swapped[..., 1]], -1)
