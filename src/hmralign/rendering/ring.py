"""A ring of orthographic cameras around a person: renders of all sides, and where points of the body fall in them.

View v shows the body turned by its azimuth about the photo's vertical, in front of a camera that stays put, as
`rendering.views` turns it: at 90 degrees a person who faces the camera looks to the right edge of the picture. The
frame is the photo's `cam` (x right, y down, z forward), moved so that the middle of the body's bounding box is its
origin and falls on the middle of every picture. PSHuman and Era3D look at a person through such a ring, too.

    x_v = R_v (x - centre)        u = x_v.x * pixels per metre + (size - 1) / 2, v alike        depth = x_v.z

Pixel (0, 0) is the centre of the top-left pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.geometry.rotations import axis_rotmat
from hmralign.rendering.zbuffer import render
from hmralign.structures import InputError
from hmralign.structures.multi_views import MultiViews

DISTANCE = 1000.0
"""Metres from which the pinhole renderer looks: parts of a body then shift by at most 0.1 % against each other, about
0.02 pixels of 32."""

_PICTURES_AT_ONCE = 256


@dataclass(frozen=True)
class RingCameras:
    """Orthographic cameras at one height, all the same but for their azimuth."""

    azimuths: tuple[float, ...] = (0.0, 90.0, 180.0, 270.0)
    """Degrees; the first is the photo's own view."""
    size: int = 32
    """Pixels across a view, and down."""
    extent: float = 2.2
    """Metres across a view, and down. What sticks out is cut: `cut` says of whom."""
    supersampling: int = 3
    """Rays per pixel along each axis, averaged."""

    def __post_init__(self) -> None:
        """Raise InputError for a ring that shows nothing, or nothing in depth."""
        if (
            len(self.azimuths) < 2
            or self.azimuths[0] != 0
            or len({a % 360 for a in self.azimuths}) < len(self.azimuths)
        ):
            raise InputError(
                f"azimuths of a ring are {self.azimuths}; expected 0, the front, and other sides, no two equal"
            )
        if not all(math.isfinite(a) for a in self.azimuths) or not (math.isfinite(self.extent) and self.extent > 0):
            raise InputError("azimuths of a ring must be finite degrees, and its extent positive metres")
        if self.size < 2 or self.supersampling < 1:
            raise InputError("views of a ring need at least 2 pixels across, and 1 ray for each of them")

    @property
    def num_views(self) -> int:
        """Number of cameras."""
        return len(self.azimuths)

    @property
    def pixels_per_metre(self) -> float:
        """The scale of every view."""
        return self.size / self.extent

    @property
    def rotations(self) -> Float[Tensor, "view 3 3"]:
        """R_v from the photo's axes to each view's; the first is the identity."""
        return axis_rotmat("y", -torch.deg2rad(torch.tensor(self.azimuths)))  # y points down: the turn is about "up"

    def project(
        self, points: Float[Tensor, "*person point 3"], centre: Float[Tensor, "*person 3"]
    ) -> tuple[Float[Tensor, "*person view point 2"], Float[Tensor, "*person view point"]]:
        """Pixels of points, and their depth behind the centre (metres); differentiable.

        Points and `centre` (`body_centre` of their body) are metres in the photo's `cam` axes.
        """
        turned = self.turned(points, centre)  # (*B, V, N, 3)
        return turned[..., :2] * self.pixels_per_metre + (self.size - 1) / 2, turned[..., 2]

    def turned(
        self, points: Float[Tensor, "*person point 3"], centre: Float[Tensor, "*person 3"]
    ) -> Float[Tensor, "*person view point 3"]:
        """Points in the axes of each view, metres from the centre."""
        from_centre = (points - centre[..., None, :])[..., None, :, :]  # (*B, 1, N, 3)
        return from_centre @ self.rotations.to(points).mT

    def render(self, vertices: Float[Tensor, "person vert 3"], faces: Int[Tensor, "face 3"]) -> MultiViews:
        """All views of each person alone, from vertices in metres in the photo's `cam` axes, wherever they are.

        Not differentiable. Raises InputError as `zbuffer.render`.
        """
        seen = self.turned(vertices, body_centre(vertices)).flatten(0, 1)  # (B * V, N, 3)
        pictures = [self._rendered(some, faces) for some in seen.split(_PICTURES_AT_ONCE)]
        empty = vertices.new_zeros((0, 4, self.size, self.size))
        pixels = torch.cat(pictures) if pictures else empty
        return MultiViews(pixels.unflatten(0, (len(vertices), self.num_views)))

    def cut(
        self, points: Float[Tensor, "*person point 3"], centre: Float[Tensor, "*person 3"]
    ) -> Float[Tensor, "*person"]:
        """Share of points, over all views, that fall outside the picture."""
        pixels, _ = self.project(points, centre)
        return ((pixels < -0.5) | (pixels > self.size - 0.5)).any(-1).float().mean((-2, -1))

    def _rendered(self, vertices: Tensor, faces: Tensor) -> Float[Tensor, "picture 4 size size"]:
        side = self.size * self.supersampling
        focal, middle = side / self.extent * DISTANCE, (side - 1) / 2
        K = torch.tensor([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
        away = vertices + vertices.new_tensor([0.0, 0.0, DISTANCE])
        drawn = render(away, faces, K, (side, side), outputs=("normals", "silhouette"))
        assert drawn.normals is not None and drawn.silhouette is not None
        rays = torch.cat([drawn.normals, drawn.silhouette[..., None].float()], -1).permute(0, 3, 1, 2)
        return torch.nn.functional.avg_pool2d(rays, self.supersampling)


def body_centre(vertices: Float[Tensor, "*person vert 3"]) -> Float[Tensor, "*person 3"]:
    """Middle of each body's bounding box, in the axes of the vertices: where the ring looks."""
    return (vertices.amin(-2) + vertices.amax(-2)) / 2
