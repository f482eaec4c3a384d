"""Normals to colours, and colours over a photo.

A headlight (light at the camera, so that no side of the body is ever black) and a soft sky from above that keeps the
relief readable. Pictures are float32 in [0, 1]; a *layer* is RGBA with colours already multiplied by their coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from hmralign.geometry.cameras import project, scaled_intrinsics
from hmralign.rendering.zbuffer import NEAR, PixelWindow, render, render_shaded
from hmralign.structures import InputError

SKY_BLUE = (0.55, 0.70, 0.88)
"""Colour of a hypothesis."""

WARM_GOLD = (0.93, 0.72, 0.42)
"""Colour of the one answer made from all hypotheses."""

HIDDEN_OPACITY = 0.3
"""What is left of a body's opacity where somebody else stands in front of it."""

MANNEQUIN = (0.80, 0.78, 0.74)
"""Colour of a body in a file, where nothing is to be told by it."""

_PIXELS_AT_ONCE = 2**23


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
    n = supersample
    fine_K = scaled_intrinsics(K, (float(n), float(n)))
    fine_size = (size[0] * n, size[1] * n)
    window = _seen_window(vertices, K, size)
    left, top, right, bottom = window
    fine_window = (left * n, top * n, right * n, bottom * n)
    per_part = max(1, _PIXELS_AT_ONCE // ((bottom - top) * (right - left) * n * n))
    layers = [torch.zeros(0, bottom - top, right - left, 4, device=vertices.device)]
    seen_at = _View(fine_size, fine_window)
    nearest = None if in_front is None or len(in_front) == 0 else _nearest(in_front, faces, fine_K, seen_at)
    for first in range(0, len(vertices), per_part):
        part = slice(first, first + per_part)
        if vertex_colors is None and nearest is None:
            part_K = K[part] if K.ndim == 3 else K
            layers.append(render_shaded(vertices[part], faces, part_K, size, color, _light(lighting), n, window))
            continue
        part_K = fine_K[part] if fine_K.ndim == 3 else fine_K
        part_colors = None if vertex_colors is None else vertex_colors[part]
        fine = _fine_layers(vertices[part], faces, part_K, seen_at, color, part_colors, lighting, nearest)
        layers.append(functional.avg_pool2d(fine.permute(0, 3, 1, 2), n).permute(0, 2, 3, 1) if n > 1 else fine)
    return torch.cat(layers), window


def _light(lighting: Lighting | None) -> tuple[float, float, float]:
    lighting = lighting or Lighting()
    return lighting.ambient, lighting.headlight, lighting.sky


@dataclass(frozen=True)
class _View:
    """A picture's size (height, width) and the part of it that is rendered."""

    size: tuple[int, int]
    window: PixelWindow


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


def _nearest(meshes: Tensor, faces: Tensor, K: Tensor, view: _View) -> Float[Tensor, "height width"]:
    """Depth of the nearest of several meshes at each pixel, infinity where none is seen; one camera sees them all."""
    if K.ndim != 2:
        raise InputError("meshes stand in front of others, but the cameras differ; expected one camera")
    first = torch.arange(len(meshes), device=faces.device)[:, None, None] * meshes.shape[1]
    together = (faces.long() + first).reshape(-1, 3)
    depth = render(meshes.reshape(1, -1, 3), together, K, view.size, ("depth",), view.window).depth
    assert depth is not None
    return depth[0]


def _fine_layers(vertices, faces, K, view: _View, color, vertex_colors, lighting, nearest) -> Tensor:
    wanted = ("normals", "silhouette") if vertex_colors is None else ("normals", "face_index", "barycentric")
    out = render(vertices, faces, K, view.size, wanted if nearest is None else (*wanted, "depth"), view.window)
    assert out.normals is not None
    if vertex_colors is None:
        assert out.silhouette is not None
        # Indices once, not masks again and again: most pixels are empty.
        seen = out.silhouette.flatten().nonzero()[:, 0]
        base = torch.tensor(color, device=vertices.device)
    else:
        assert out.face_index is not None and out.barycentric is not None
        seen = (out.face_index.flatten() >= 0).nonzero()[:, 0]
        base = interpolate_vertex_colors(vertex_colors, faces, out.face_index, out.barycentric).view(-1, 3)[seen]
    layer = torch.zeros(*out.normals.shape[:3], 4, device=vertices.device)
    shaded = shade(out.normals.view(-1, 3)[seen], base, lighting)
    layer.view(-1, 4)[seen] = functional.pad(shaded, (0, 1), value=1.0)
    if nearest is not None:
        assert out.depth is not None
        layer[nearest.expand_as(out.depth) < out.depth] *= HIDDEN_OPACITY
    return layer


def blend(
    photo: Float[Tensor, "*photo 3"], layer: Float[Tensor, "*batch height width 4"], alpha: float = 1.0
) -> Float[Tensor, "*batch height width 3"]:
    """The layer over the photo (or over one colour; it broadcasts); `alpha` is the opacity of the body, 0 to 1."""
    return photo * (1 - alpha * layer[..., 3:]) + alpha * layer[..., :3]
