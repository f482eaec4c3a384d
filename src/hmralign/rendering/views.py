"""Other places to look at a body from, and cameras that frame it.

A view turns the body in front of a camera that stays put, so every picture is again `cam` frame plus `K`.

| view | what is seen of a person who faces the camera |
| --- | --- |
| side (+90 degrees) | turned to face the right edge of the picture: their right side |
| top | from above the head, facing the lower edge of the picture |
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.cameras import cropped_intrinsics
from hmralign.structures import InputError

IMAGE_UP = (0.0, -1.0, 0.0)
"""Up in the picture, `cam` frame."""


def body_up(global_orient: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The body's own vertical axis (y of its rest pose) in the `cam` frame."""
    return global_orient[..., :, 1]


def turned(
    vertices: Float[Tensor, "batch vert 3"], axis: Float[Tensor, "#batch 3"], angle: float
) -> Float[Tensor, "batch vert 3"]:
    """Each body turned by `angle` (radians, right-hand rule) about `axis` (one, or one per body).

    The middle of its bounding box stays where it is.
    """
    middle = _middle(vertices)
    axis = torch.nn.functional.normalize(axis.to(vertices), dim=-1).expand(vertices.shape[0], 3)[:, None, :]
    offset = vertices - middle
    along = (offset * axis).sum(-1, keepdim=True) * axis
    across = offset - along
    return middle + along + math.cos(angle) * across + math.sin(angle) * torch.linalg.cross(axis, across)


def side_view(
    vertices: Float[Tensor, "batch vert 3"], up: Float[Tensor, "#batch 3"] | None = None, degrees: float = 90.0
) -> Float[Tensor, "batch vert 3"]:
    """The bodies turned about the picture's vertical, or about `up` when given (for example `body_up`)."""
    return turned(vertices, torch.tensor([IMAGE_UP]) if up is None else up, math.radians(degrees))


def top_view(vertices: Float[Tensor, "batch vert 3"]) -> Float[Tensor, "batch vert 3"]:
    """The bodies seen from above: the picture's vertical is turned towards the camera."""
    return turned(vertices, torch.tensor([[1.0, 0.0, 0.0]]), math.radians(90.0))


def framed(
    vertices: Float[Tensor, "batch vert 3"], size: tuple[int, int], margin: float = 0.08
) -> tuple[Float[Tensor, "batch vert 3"], Float[Tensor, "3 3"]]:
    """Bodies moved in front of one camera that shows each of them whole: (vertices, K).

    Each body's bounding box is centred on the optical axis, 4 body sizes away (little perspective); the scale is
    common to the group, so sizes compare. `margin` is the free share of the picture on each side.
    """
    if vertices.shape[0] == 0:
        raise InputError("there is no body to frame; expected at least one")
    centred = vertices - _middle(vertices)
    reach = centred.abs().amax(dim=(0, 1))
    distance = 4 * 2 * float(reach.max())
    placed = centred + torch.tensor([0.0, 0.0, distance], device=vertices.device)
    height, width = size
    # The nearest slice of a body looks largest; each corner of the bounding box must stay inside.
    nearest = distance - float(reach[2])
    usable = 1 - 2 * margin
    focal = nearest * min(usable * width / 2 / float(reach[0]), usable * height / 2 / float(reach[1]))
    K = [[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
    return placed, torch.tensor(K, device=vertices.device)


def window_camera(
    K: Float[Tensor, "3 3"], window: tuple[int, int, int, int], size: tuple[int, int]
) -> Float[Tensor, "3 3"]:
    """Camera of a part of the picture, cut out and resized to `size` (height, width).

    `window` is (left, top, right, bottom) between pixels, as image libraries cut: (0, 0, width, height) is everything
    and may reach beyond the picture. Pixel centres stay whole numbers in both pictures.
    """
    left, top, right, bottom = window
    if right <= left or bottom <= top:
        raise InputError(f"window {window} is empty; expected left < right and top < bottom")
    sx, sy = size[1] / (right - left), size[0] / (bottom - top)
    return cropped_intrinsics(K, K.new_tensor([[sx, 0.0, (0.5 - left) * sx - 0.5], [0.0, sy, (0.5 - top) * sy - 0.5]]))


def _middle(vertices: Tensor) -> Float[Tensor, "batch 1 3"]:
    return (vertices.amin(1, keepdim=True) + vertices.amax(1, keepdim=True)) / 2
