"""Several bodies over one picture, computed only where they are: for films, where every frame is drawn once."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from hmralign.overlays.overlay import Picture, Window
from hmralign.rendering.shading import drawn_over


def people_over(
    picture: UInt8[np.ndarray, "height width 3"],
    vertices: Float[Tensor, "person vert 3"],
    faces: Int[Tensor, "face 3"],
    K: Float[Tensor, "3 3"],
    colors: Float[Tensor, "person 3"],
    *,
    alpha: float = 0.9,
) -> Picture:
    """The picture with all bodies, the nearer hiding the farther; `K` is that of the picture, `colors` in [0, 1].

    Bodies of which a part is behind the camera lose that part.
    """
    if bodies_window(vertices, K, (picture.shape[1], picture.shape[0])) is None:
        return picture
    people, count = vertices.shape[:2]
    scene = (faces.long() + torch.arange(people)[:, None, None] * count).reshape(-1, 3)
    painted = colors.repeat_interleave(count, dim=0)[None]
    return drawn_over(picture, vertices.reshape(1, -1, 3), scene, K, vertex_colors=painted, supersample=1, alpha=alpha)[
        0
    ]


def bodies_window(
    vertices: Float[Tensor, "person vert 3"], K: Float[Tensor, "3 3"], size: tuple[int, int]
) -> Window | None:
    """The part of a picture of `size` (width, height) in which bodies are seen; None where they are not."""
    seen = vertices.reshape(-1, 3)
    seen = seen[seen[:, 2] > 0.05]
    if len(seen) == 0:
        return None
    pixels = seen @ K.mT
    pixels = pixels[:, :2] / pixels[:, 2:]
    low = (pixels.amin(0) - 1).floor().clamp(min=0)
    high = torch.minimum((pixels.amax(0) + 2).ceil(), torch.tensor(size, dtype=pixels.dtype))
    left, top, right, bottom = (int(v) for v in (*low, *high))
    return (left, top, right, bottom) if left < right and top < bottom else None
