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
    normal = torch.where(normal[:, 2:] > 0, -normal, normal)  # both sides of a surface are seen
    key = (normal * light.key[person]).sum(-1, keepdim=True)
    fill = (normal * light.fill[person]).sum(-1, keepdim=True).clamp(min=0)
    sky = light.ambient[person] * (0.75 - 0.25 * normal[:, 1:2])
    half = normalize(light.key + light.key.new_tensor([0.0, 0.0, -1.0]), dim=-1)
    glint = (normal * half[person]).sum(-1).clamp(min=0) ** 20 * light.shine[person]
    matt = color * (sky + light.key_color[person] * key.clamp(min=0) + light.fill_color[person] * fill)
    return (matt + glint[:, None]).clamp(0, 1)


def shadow_points(
    vertices: Float[Tensor, "n vert 3"], up: Float[Tensor, "n 3"], light: Light
) -> Float[Tensor, "n vert 3"]:
    """Where vertices cast their shadow on the floor under the lowest one, along the key light."""
    height = (vertices * up[:, None]).sum(-1, keepdim=True)  # (n, vert, 1)
    height = height - height.amin(1, keepdim=True)
    slope = (light.key * up).sum(-1).clamp(min=0.25)[:, None, None]  # long shadows, but not endless ones
    return vertices - light.key[:, None] * (height / slope)
