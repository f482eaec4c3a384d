"""Persons seen by a ring of cameras, drawn once and kept: what networks that read views are trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS
from hmralign.data.synthetic.hard_poses import is_hard
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.views import ViewMix, sample_views
from hmralign.rendering.ring import RingCameras, body_centre
from hmralign.structures import BodyParams, TensorRecord
from hmralign.structures.multi_views import MultiViews

_AT_ONCE = 256

Kind = Literal["all", "ordinary", "hard"]
"""Persons in poses of which kind (`data/synthetic/hard_poses`). Scans, which 3D truth mostly comes from, hold few hard
ones."""


@dataclass(frozen=True)
class RingPersons(TensorRecord):
    """Views of persons, and their joints."""

    pixels: Float[Tensor, "*person view 4 h w"]
    """As in `MultiViews`, in half precision: a bank of thousands is kept in memory."""
    joints: Float[Tensor, "*person 24 3"]
    """Metres from the middle of the body's bounding box, in the photo's `cam` axes."""


def drawn_ring_persons(
    body: BodyModel,
    source: PoseSource,
    views: ViewMix,
    ring: RingCameras,
    count: int,
    generator: torch.Generator,
    kind: Kind = "all",
) -> RingPersons:
    """`count` persons in poses of a source, of shapes at random, turned as cameras at random see them.

    Of another kind than `all`, persons of the other kind are drawn and dropped.
    """
    parts: list[RingPersons] = []
    while (missing := count - sum(len(part.joints) for part in parts)) > 0:
        n = min(_AT_ONCE, missing)
        body_pose, up = source.sample(n, generator)
        turn = sample_views(up, views, generator).global_orient
        betas = torch.randn(n, body.num_betas, generator=generator).clamp(-3, 3)
        params = BodyParams(turn, body_pose, betas, torch.zeros(n, 3))
        parts.append(rendered_persons(body, params if kind == "all" else _of_kind(body, params, kind), ring))
    return RingPersons.cat(parts)


def _of_kind(body: BodyModel, params: BodyParams, kind: Kind) -> BodyParams:
    return params[is_hard(posed_joints(body, params)[:, :NUM_JOINTS]) == (kind == "hard")]


def rendered_persons(body: BodyModel, params: BodyParams, ring: RingCameras) -> RingPersons:
    """Views of given bodies, one batch axis."""
    mesh = vertices(body, params)
    joints = posed_joints(body, params)[:, :NUM_JOINTS] - body_centre(mesh)[:, None]
    return RingPersons(ring.render(mesh, body.faces).pixels.half(), joints)


def turned_persons(persons: RingPersons, ring: RingCameras, share: float, generator: torch.Generator) -> RingPersons:
    """A share of the persons as if any view of an evenly spaced ring were their front; one batch axis."""
    count, views = persons.pixels.shape[:2]
    chosen = torch.rand(count, generator=generator) < share
    first = torch.where(chosen, torch.randint(views, (count,), generator=generator), 0)
    order = (torch.arange(views) + first[:, None]) % views  # (person, view)
    joints = persons.joints @ ring.rotations[first].mT
    return RingPersons(persons.pixels[torch.arange(count)[:, None], order], joints)


def half_mirrored(persons: RingPersons, generator: torch.Generator) -> RingPersons:
    """Persons in full precision, each as a mirror shows it or not; one batch axis."""
    pixels, joints = persons.pixels.float(), persons.joints
    flip = torch.rand(len(pixels), generator=generator) < 0.5
    pixels = torch.where(flip[:, None, None, None, None], MultiViews(pixels).mirrored().pixels, pixels)
    mirrored = joints[:, list(MIRROR_JOINTS[:NUM_JOINTS])] * joints.new_tensor([-1.0, 1.0, 1.0])
    return RingPersons(pixels, torch.where(flip[:, None, None], mirrored, joints))


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
