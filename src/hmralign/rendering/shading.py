"""Normals to colours, and colours over a photo.

A headlight (light at the camera, so that no side of the body is ever black) and a soft sky from above that keeps the
relief readable. Pictures are float32 in [0, 1]; a *layer* is RGBA with colours already multiplied by their coverage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from hmralign.geometry.cameras import project, scaled_intrinsics
from hmralign.rendering.zbuffer import NEAR, Look, PixelWindow, render, render_over, render_shaded
from hmralign.structures import InputError

SKY_BLUE = (0.55, 0.70, 0.88)
"""Colour of a hypothesis."""

WARM_GOLD = (0.93, 0.72, 0.42)
"""Colour of the one answer made from all hypotheses."""

HIDDEN_OPACITY = 0.3
"""What is left of a body's opacity where somebody else stands in front of it."""

MANNEQUIN = (0.80, 0.78, 0.74)
"""Colour of a body in a file, where nothing is to be told by it."""

_PIXELS_AT_ONCE = 2**21
"""Finer pixels of a part: larger buffers are given back to the system each time, and fetched anew page by page."""


@dataclass(frozen=True)
class Lighting:
    """Shares of light; they need not sum to 1.  `sky` is the part that only surfaces facing up receive in full."""

    ambient: float = 0.30
    headlight: float = 0.62
    sky: float = 0.16


def shade(
    normals: Float[Tensor, "*batch 3"], colors: Float[Tensor, "*#batch 3"], lighting: Lighting | None = None
) -> Float[Tensor, "*batch 3"]:
    """Colour of a matt surface with unit `normals` (`cam` frame) and the given base `colors` (RGB in [0, 1]).

    Surfaces seen from behind are lit as if they faced the camera.
    """
    lighting = lighting or Lighting()
    facing = normals[..., 2:].abs()
    upward = 0.5 - 0.5 * normals[..., 1:2]
    return (colors * (lighting.ambient + lighting.headlight * facing + lighting.sky * upward)).clamp(0, 1)


def interpolate_vertex_colors(
    colors: Float[Tensor, "batch vert 3"],
    faces: Int[Tensor, "face 3"],
    face_index: Int[Tensor, "batch height width"],
    barycentric: Float[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch height width 3"]:
    """Per-vertex colours spread over the pictures that `render` made; zeros where nothing is seen."""
    picture = torch.zeros_like(barycentric)
    batch, row, column = torch.nonzero(face_index >= 0, as_tuple=True)
    corners = faces.long().to(colors.device)[face_index[batch, row, column].long()]
    weights = barycentric[batch, row, column]
    picture[batch, row, column] = (colors[batch[:, None], corners] * weights[..., None]).sum(-2)
    return picture


def shaded_layers(
    vertices: Float[Tensor, "batch vert 3"],
    faces: Int[Tensor, "face 3"],
    K: Float[Tensor, "*cameras 3 3"],
    size: tuple[int, int],
    color: tuple[float, float, float] = SKY_BLUE,
    vertex_colors: Float[Tensor, "batch vert 3"] | None = None,
    supersample: int = 2,
    lighting: Lighting | None = None,
    in_front: Float[Tensor, "others vert 3"] | None = None,
) -> Float[Tensor, "batch height width 4"]:
    """Shaded RGBA layer of each mesh; `vertex_colors` (RGB in [0, 1]) replace the one `color`.

    Where a mesh of `in_front` (same faces) is nearer to the camera the layer is faint, `HIDDEN_OPACITY` of itself;
    those meshes themselves are not drawn.

    `size` is (height, width) and `K` belongs to it. Each pixel is the mean of `supersample` squared finer ones, which
    smooths the outline. Works through the group in parts, so memory stays bounded.
    """
    whole = torch.zeros(len(vertices), *size, 4, device=vertices.device)
    part, (left, top, right, bottom) = shaded_parts(
        vertices, faces, K, size, color, vertex_colors, supersample, lighting, in_front
    )
    whole[:, top:bottom, left:right] = part
    return whole


def shaded_parts(
    vertices: Float[Tensor, "batch vert 3"],
    faces: Int[Tensor, "face 3"],
    K: Float[Tensor, "*cameras 3 3"],
    size: tuple[int, int],
    color: tuple[float, float, float] = SKY_BLUE,
    vertex_colors: Float[Tensor, "batch vert 3"] | None = None,
    supersample: int = 2,
    lighting: Lighting | None = None,
    in_front: Float[Tensor, "others vert 3"] | None = None,
) -> tuple[Float[Tensor, "batch part_height part_width 4"], PixelWindow]:
    """`shaded_layers` where any of the meshes may be seen, and where in the picture that is; elsewhere layers are 0.

    Bodies fill a small part of most pictures, and what is not computed costs nothing.
    """
    window = _seen_window(vertices, K, size)
    height, width = window[3] - window[1], window[2] - window[0]
    layers = [torch.zeros(0, height, width, 4, device=vertices.device)]
    paint = _Painting(faces, K, size, color, vertex_colors, supersample, lighting, in_front, window)
    for part, camera, look in paint.parts(vertices):
        layers.append(render_shaded(vertices[part], faces, camera, size, look, window))
    return torch.cat(layers), window


def drawn_over(
    picture: UInt8[np.ndarray, "height width 3"],
    vertices: Float[Tensor, "batch vert 3"],
    faces: Int[Tensor, "face 3"],
    K: Float[Tensor, "*cameras 3 3"],
    color: tuple[float, float, float] = SKY_BLUE,
    vertex_colors: Float[Tensor, "batch vert 3"] | None = None,
    supersample: int = 2,
    lighting: Lighting | None = None,
    in_front: Float[Tensor, "others vert 3"] | None = None,
    alpha: float = 1.0,
) -> UInt8[np.ndarray, "batch height width 3"]:
    """Each mesh over its own copy of the picture: `blend` of `shaded_layers`, rounded to 8 bits.

    Arguments are those of `shaded_layers`; beside the bodies the picture is as it was.
    """
    size = (picture.shape[0], picture.shape[1])
    window = _seen_window(vertices, K, size)
    drawn = torch.from_numpy(np.repeat(picture[None], len(vertices), axis=0)).to(vertices.device)
    paint = _Painting(faces, K, size, color, vertex_colors, supersample, lighting, in_front, window)
    for part, camera, look in paint.parts(vertices):
        render_over(drawn[part], vertices[part], faces, camera, look, window, alpha)
    return drawn.cpu().numpy()


@dataclass(frozen=True)
class _Painting:
    """Arguments of `shaded_layers`, and the window that is drawn."""

    faces: Tensor
    K: Tensor
    size: tuple[int, int]
    color: tuple[float, float, float]
    vertex_colors: Tensor | None
    finer: int
    lighting: Lighting | None
    in_front: Tensor | None
    window: PixelWindow

    def parts(self, vertices: Tensor) -> Iterator[tuple[slice, Tensor, Look]]:
        """Meshes that are drawn at once, with their camera and look: as many as stay within a few megabytes."""
        n, (left, top, right, bottom) = self.finer, self.window
        at_once = max(1, _PIXELS_AT_ONCE // ((bottom - top) * (right - left) * n * n))
        nearest = None if self.in_front is None or len(self.in_front) == 0 else self._nearest(self.in_front)
        for first in range(0, len(vertices), at_once):
            part = slice(first, first + at_once)
            colors = None if self.vertex_colors is None else self.vertex_colors[part]
            look = Look(self.color, _light(self.lighting), n, colors, nearest, HIDDEN_OPACITY)
            yield part, self.K[part] if self.K.ndim == 3 else self.K, look

    def _nearest(self, meshes: Tensor) -> Float[Tensor, "fine_height fine_width"]:
        """Depth of the nearest of several meshes, infinity where none is seen; one camera sees them all."""
        if self.K.ndim != 2:
            raise InputError("meshes stand in front of others, but the cameras differ; expected one camera")
        n = self.finer
        left, top, right, bottom = (edge * n for edge in self.window)
        first = torch.arange(len(meshes), device=self.faces.device)[:, None, None] * meshes.shape[1]
        together = (self.faces.long() + first).reshape(-1, 3)
        K, size = scaled_intrinsics(self.K, (float(n), float(n))), (self.size[0] * n, self.size[1] * n)
        depth = render(meshes.reshape(1, -1, 3), together, K, size, ("depth",), (left, top, right, bottom)).depth
        assert depth is not None
        return depth[0]


def _light(lighting: Lighting | None) -> tuple[float, float, float]:
    lighting = lighting or Lighting()
    return lighting.ambient, lighting.headlight, lighting.sky


def _seen_window(vertices: Tensor, K: Tensor, size: tuple[int, int]) -> PixelWindow:
    """The part of the picture in which the meshes lie, with a pixel around it; its first pixel where they are not seen.

    Triangles with a vertex at or before the near plane are dropped, so only vertices beyond it count.
    """
    pixels = project(vertices.detach().double(), K.detach().to(vertices.device).double()).flatten(0, 1)
    pixels = pixels[vertices.detach().float()[..., 2].flatten() > NEAR]
    if len(pixels) == 0 or not torch.isfinite(pixels).all():  # `render` says what is wrong
        return 0, 0, 1, 1
    edges = torch.tensor([size[1], size[0]], device=pixels.device).double()
    low = (pixels.amin(0).floor() - 1).clamp(min=0).minimum(edges)
    high = (pixels.amax(0).ceil() + 2).clamp(min=0).minimum(edges)
    (left, top), (right, bottom) = low.int().tolist(), high.int().tolist()
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, 1, 1)


def blend(
    photo: Float[Tensor, "*photo 3"], layer: Float[Tensor, "*batch height width 4"], alpha: float = 1.0
) -> Float[Tensor, "*batch height width 3"]:
    """The layer over the photo (or over one colour; it broadcasts); `alpha` is the opacity of the body, 0 to 1."""
    return photo * (1 - alpha * layer[..., 3:]) + alpha * layer[..., :3]
