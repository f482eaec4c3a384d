"""Light on rendered persons: a sky, one key light and a fill, per picture; matt surfaces with a faint highlight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from hmralign.structures import TensorRecord


@dataclass(frozen=True)
class Light(TensorRecord):
    """Directions point towards the light (`cam` frame, y down); strengths are RGB."""

    key: Float[Tensor, "n 3"]
    key_color: Float[Tensor, "n 3"]
    fill: Float[Tensor, "n 3"]
    fill_color: Float[Tensor, "n 3"]
    ambient: Float[Tensor, "n 3"]
    shine: Float[Tensor, " n"]


def draw_light(n: int, generator: torch.Generator) -> Light:
    """Light from above, from any side, warm or cold, hard or soft."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    def direction() -> Tensor:
        towards = torch.randn(n, 3, generator=generator)
        towards[:, 1] = -towards[:, 1].abs() - 0.2  # from above
        towards[:, 2] = towards[:, 2] - 0.4  # rather from the camera's side
        return normalize(towards, dim=-1)

    tint = uniform(0.85, 1.15, 3)
    hard = uniform(0.1, 0.95, 1)
    return Light(
        key=direction(),
        key_color=hard * tint,
        fill=direction(),
        fill_color=0.35 * uniform(0.0, 1.0, 1) * (2 - tint),
        ambient=(1.15 - hard) * uniform(0.6, 1.0, 1) * uniform(0.9, 1.1, 3),
        shine=uniform(0.0, 0.15),
    )


def lit(
    color: Float[Tensor, "point 3"], normal: Float[Tensor, "point 3"], person: Int[Tensor, " point"], light: Light
) -> Float[Tensor, "point 3"]:
    """Light that comes back from points with unit normals that face the camera."""
    half = normalize(light.key + light.key.new_tensor([0.0, 0.0, -1.0]), dim=-1)
    parts = [light.key, light.fill, half, light.ambient, light.key_color, light.fill_color, light.shine[:, None]]
    # One coordinate after another, not one point after another: what follows runs along the points.
    of_point = torch.cat(parts, dim=-1).T.contiguous().index_select(1, person)  # (19, point)
    key_side, fill_side, half_side, ambient, key_color, fill_color = of_point[:18].unflatten(0, (6, 3))
    towards = normal.T.contiguous()
    towards = towards * (1 - 2 * (towards[2] > 0).float())  # both sides of a surface are seen
    key = _dot(towards, key_side).clamp_(min=0)
    fill = _dot(towards, fill_side).clamp_(min=0)
    sky = ambient * (0.75 - 0.25 * towards[1])
    glint = _dot(towards, half_side).clamp_(min=0) ** 20 * of_point[18]
    matt = color.T * (sky + key_color * key + fill_color * fill)
    return (matt + glint).clamp_(0, 1).T


def _dot(a: Float[Tensor, "3 point"], b: Float[Tensor, "3 point"]) -> Float[Tensor, " point"]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def shadow_points(
    vertices: Float[Tensor, "n vert 3"], up: Float[Tensor, "n 3"], light: Light
) -> Float[Tensor, "n vert 3"]:
    """Where vertices cast their shadow on the floor under the lowest one, along the key light."""
    height = (vertices * up[:, None]).sum(-1, keepdim=True)  # (n, vert, 1)
    height = height - height.amin(1, keepdim=True)
    slope = (light.key * up).sum(-1).clamp(min=0.25)[:, None, None]  # long shadows, but not endless ones
    return vertices - light.key[:, None] * (height / slope)
