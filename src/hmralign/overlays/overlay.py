"""Bodies drawn over the photo, a whole group in one call, and the same bodies from the side.

Pictures are uint8 RGB arrays. Large photos are drawn at most `max_side` pixels wide and high; the camera is scaled with
them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from hmralign.rendering.shading import SKY_BLUE, drawn_over
from hmralign.rendering.views import framed, side_view, window_camera
from hmralign.structures import Camera, InputError
from hmralign.structures.counted import counted

Window = tuple[int, int, int, int]
"""(left, top, right, bottom) between pixels of the full image; may reach beyond it."""

Picture = UInt8[np.ndarray, "height width 3"]

Photo = Image.Image | UInt8[np.ndarray, "photo_height photo_width 3"]
"""What callers may hand in as the full image."""

PAPER = (244, 245, 247)
"""Background of views without a photo, and of what lies beyond the photo's border."""

SHRINKING = Image.Resampling.HAMMING
"""How photos are shrunk where many are shown: as smooth as bicubic filtering, at half its price."""

PERSON_COLORS = (
    SKY_BLUE, (0.93, 0.72, 0.42), (0.60, 0.80, 0.58), (0.86, 0.58, 0.62), (0.72, 0.64, 0.86), (0.55, 0.80, 0.80),
)  # fmt: skip
"""Base colours of several people in one picture, in turn."""


def person_window(box: Float[Tensor, " 4"], margin: float = 0.15) -> Window:
    """Square window around a box (x0, y0, x1, y1), with `margin` of its longer side free on each side."""
    x0, y0, x1, y1 = (float(c) for c in box)
    if not (x1 > x0 and y1 > y0):
        raise InputError(f"box ({x0:.1f}, {y0:.1f}, {x1:.1f}, {y1:.1f}) is empty; expected x0 < x1 and y0 < y1")
    half = max(2, round(max(x1 - x0, y1 - y0) * (0.5 + margin)))
    cx, cy = round((x0 + x1) / 2), round((y0 + y1) / 2)
    return cx - half, cy - half, cx + half, cy + half


def cut_photo(
    image: Photo,
    window: Window | None = None,
    size: tuple[int, int] | None = None,
    max_side: int = 1024,
    resampling: Image.Resampling = Image.Resampling.LANCZOS,
) -> tuple[Picture, Window]:
    """The window of the photo (default: all of it) as a picture of `size` (height, width), and the window itself.

    Without `size` the picture has the photo's own pixels, shrunk so that no side exceeds `max_side`. What lies beyond
    the photo is plain `PAPER`. `resampling`: `SHRINKING` is three times as fast as Lanczos and a little softer.
    """
    wide, high = _photo_size(image)
    window = window or (0, 0, wide, high)
    width, height = window[2] - window[0], window[3] - window[1]
    if width < 1 or height < 1:
        raise InputError(f"window {window} is empty; expected left < right and top < bottom")
    if size is None:
        scale = min(1.0, max_side / max(width, height))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
    left, top, right, bottom = max(window[0], 0), max(window[1], 0), min(window[2], wide), min(window[3], high)
    if (left, top, right, bottom) == window:
        sheet = _part(image, window)
    else:
        sheet = np.asarray(Image.new("RGB", (width, height), PAPER)).copy()
        if left < right and top < bottom:
            inside = sheet[top - window[1] : bottom - window[1], left - window[0] : right - window[0]]
            inside[:] = _part(image, (left, top, right, bottom))
    if sheet.shape[:2] != size:
        sheet = Image.fromarray(sheet).resize((size[1], size[0]), resampling)
    return np.array(sheet), window


def _photo_size(image: Photo) -> tuple[int, int]:
    """Width and height; raises `InputError` for arrays that are no photo."""
    if isinstance(image, Image.Image):
        return image.size
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise InputError(f"image array is {image.dtype} {image.shape}; expected uint8 (height, width, 3)")
    return image.shape[1], image.shape[0]


def _part(image: Photo, window: Window) -> Picture:
    """A part of the photo as 8-bit RGB: no more than this is copied."""
    left, top, right, bottom = window
    if isinstance(image, Image.Image):
        return np.asarray(image.crop(window).convert("RGB"))
    return image[top:bottom, left:right]


def picture_camera(camera: Camera, window: Window, size: tuple[int, int]) -> Camera:
    """The camera of a part that `cut_photo` cut out, with which bodies are drawn over it as over the whole."""
    return Camera(window_camera(camera.K, window, size), size[1], size[0], camera.source)


def draw_overlays(
    image: Photo,
    vertices: Float[Tensor, "hyp vert 3"],
    faces: Int[Tensor, "face 3"],
    camera: Camera,
    *,
    window: Window | None = None,
    size: tuple[int, int] | None = None,
    max_side: int = 1024,
    alpha: float = 0.9,
    color: tuple[float, float, float] = SKY_BLUE,
    vertex_colors: Float[Tensor, "hyp vert 3"] | None = None,
    supersample: int = 2,
    in_front: Float[Tensor, "others vert 3"] | None = None,
) -> UInt8[np.ndarray, "hyp height width 3"]:
    """Each body alone over the photo (or over its `window`, see `cut_photo`), blended with opacity `alpha`.

    `vertices` are metres in the `cam` frame of the full image, `camera` is that image's. `vertex_colors` (RGB in
    [0, 1]) replace the one `color`. `supersample` 1 gives hard edges in a third of the time. `in_front` are the other
    people of the photo, who are not drawn: where one of them is nearer the body is faint.
    """
    picture, K = _background(image, camera, window, size, max_side)
    return drawn_over(picture, vertices, faces, K, color, vertex_colors, supersample, in_front=in_front, alpha=alpha)


def draw_people(
    image: Photo,
    vertices: Float[Tensor, "person vert 3"],
    faces: Int[Tensor, "face 3"],
    camera: Camera,
    *,
    window: Window | None = None,
    size: tuple[int, int] | None = None,
    max_side: int = 1024,
    alpha: float = 0.9,
    colors: Sequence[tuple[float, float, float]] | None = None,
) -> Picture:
    """All bodies in one picture, the nearer hiding the farther at each pixel, in whatever order they are given.

    `colors` are those of the people, else `PERSON_COLORS` in turn.
    """
    people, num_vertices = vertices.shape[:2]
    picture, K = _background(image, camera, window, size, max_side)
    if people == 0:
        return picture
    offsets = torch.arange(people, device=faces.device)[:, None, None] * num_vertices
    scene_faces = (faces.long() + offsets).reshape(-1, 3)
    chosen = [PERSON_COLORS[i % len(PERSON_COLORS)] for i in range(people)] if colors is None else list(colors)
    if len(chosen) != people:
        raise InputError(f"{counted(len(chosen), 'colour')} are given for {people} people; expected one each")
    painted = torch.tensor(chosen, device=vertices.device).repeat_interleave(num_vertices, dim=0)[None]
    return drawn_over(picture, vertices.reshape(1, -1, 3), scene_faces, K, vertex_colors=painted, alpha=alpha)[0]


def draw_side_views(
    vertices: Float[Tensor, "hyp vert 3"],
    faces: Int[Tensor, "face 3"],
    size: tuple[int, int],
    *,
    up: Float[Tensor, "#hyp 3"] | None = None,
    degrees: float = 90.0,
    color: tuple[float, float, float] = SKY_BLUE,
    vertex_colors: Float[Tensor, "hyp vert 3"] | None = None,
) -> UInt8[np.ndarray, "hyp height width 3"]:
    """Each body turned about the vertical (see `rendering.views.side_view`) and centred, all at one scale."""
    return _draw_framed(side_view(vertices, up, degrees), faces, size, color, vertex_colors)


def _draw_framed(vertices, faces, size, color, vertex_colors) -> np.ndarray:
    placed, K = framed(vertices, size)
    return drawn_over(np.full((*size, 3), PAPER, np.uint8), placed, faces, K, color, vertex_colors)


def _background(image, camera: Camera, window, size, max_side) -> tuple[np.ndarray, Tensor]:
    """The photo's part as a picture, and the camera that belongs to it."""
    if (wide_high := _photo_size(image)) != (camera.width, camera.height):
        raise InputError(
            f"image is {wide_high[0]} x {wide_high[1]} pixels but its camera says {camera.width} x {camera.height}"
        )
    picture, window = cut_photo(image, window, size, max_side)
    return picture, window_camera(camera.K, window, (picture.shape[0], picture.shape[1]))
