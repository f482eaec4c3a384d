"""Z-buffer of a whole group of meshes in one call: depth, normals, silhouette, face index, barycentric weights.

The classic bounding-box rasteriser with exact edge functions (Pineda 1988) and perspective-correct interpolation, as
Warp kernels (`zbuffer_kernels.py`), the same on CPU and CUDA. The depth test packs depth and triangle index into one
integer and takes the minimum, so the picture does not depend on the order in which threads run; ties go to the lower
index. Not differentiable.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from hmralign.geometry.cameras import scaled_intrinsics
from hmralign.rendering.warp_start import launch
from hmralign.structures import InputError

NEAR = 0.05
"""Near plane in metres. A triangle with any vertex at or before it is dropped whole, not clipped."""

PixelWindow = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole pixels of the picture, right and bottom not included."""

OutputName = Literal["depth", "normals", "silhouette", "face_index", "barycentric"]


@dataclass(frozen=True)
class RenderOutput:
    """What was asked of `render`; the rest is None.

    `depth` is z in metres, infinity where nothing is seen. `normals` are unit vectors in the `cam` frame on the side
    that the face winding calls outside, zeros where nothing is seen. `face_index` is -1 where nothing is seen.
    `barycentric` are the perspective-correct weights of the three vertices of that face, zeros where nothing is seen.
    """

    depth: Float[Tensor, "batch height width"] | None = None
    normals: Float[Tensor, "batch height width 3"] | None = None
    silhouette: Bool[Tensor, "batch height width"] | None = None
    face_index: Int[Tensor, "batch height width"] | None = None
    barycentric: Float[Tensor, "batch height width 3"] | None = None


def render(
    vertices: Float[Tensor, "batch vert 3"],
    faces: Int[Tensor, "face 3"],
    K: Float[Tensor, "*cameras 3 3"],
    size: tuple[int, int],
    outputs: Collection[OutputName] = ("depth", "normals", "silhouette", "face_index"),
    window: PixelWindow | None = None,
) -> RenderOutput:
    """Render each mesh of the batch alone, seen by its own camera.

    `vertices` are metres in the `cam` frame (x right, y down, z forward), `K` is one pinhole camera or one per mesh
    in pixels of the picture of `size` (height, width); pixel (0, 0) is the centre of the top-left pixel. A pixel is
    covered when its centre is inside or on the border of a projected triangle; both sides of a triangle are seen.
    Results are float32 (bool, int32) on the device of `vertices`. Triangles that reach before `NEAR` are dropped.

    With a `window` only that part of the picture is made, with the pixels that the whole picture has there.

    Raises `InputError` for unknown outputs, wrong shapes, non-finite numbers, faces that name missing vertices or a
    window that is empty or leaves the picture.
    """
    wanted = _checked_outputs(outputs)
    _check_mesh(vertices, faces, size)
    window = _checked_window(window, size)
    vertices = vertices.detach().to(torch.float32).contiguous()
    faces = faces.to(device=vertices.device, dtype=torch.int32).contiguous()
    cameras = _one_camera_per_mesh(K, vertices)
    with _torch_stream(vertices.device):
        return _render(vertices, faces, cameras, window, wanted)


@dataclass(frozen=True)
class Look:
    """How meshes are painted: one `color`, or `colors` of the vertices, in `light` (ambient, headlight, sky).

    Each pixel is the mean of `finer` squared ones. A finer pixel before which something is `nearest` (depth of the
    window's finer pixels, one picture for all meshes) counts `faint` times.
    """

    color: tuple[float, float, float]
    light: tuple[float, float, float]
    finer: int = 2
    colors: Float[Tensor, "batch vert 3"] | None = None
    nearest: Float[Tensor, "fine_height fine_width"] | None = None
    faint: float = 1.0


def render_shaded(
    vertices: Float[Tensor, "batch vert 3"],
    faces: Int[Tensor, "face 3"],
    K: Float[Tensor, "*cameras 3 3"],
    size: tuple[int, int],
    look: Look,
    window: PixelWindow | None = None,
) -> Float[Tensor, "batch height width 4"]:
    """Each mesh as RGBA, colours already multiplied by their coverage.

    What `render`, `shading.shade` and a pooling give, without keeping a normal of any finer pixel. `size`, `window` and
    `K` are those of the picture that is made. Raises `InputError` as `render`.
    """
    left, top, right, bottom = _checked_window(window, size)
    layers = torch.zeros(len(vertices), bottom - top, right - left, 4, device=vertices.device)
    _paint(vertices, faces, K, size, look, (left, top, right, bottom), layers, None)
    return layers


def render_over(
    pictures: UInt8[Tensor, "batch height width 3"],
    vertices: Float[Tensor, "batch vert 3"],
    faces: Int[Tensor, "face 3"],
    K: Float[Tensor, "*cameras 3 3"],
    look: Look,
    window: PixelWindow | None = None,
    alpha: float = 1.0,
) -> None:
    """Draw each mesh into its own 8-bit RGB picture, with opacity `alpha`: `shading.blend` of `render_shaded`, rounded.

    `pictures` (contiguous, on the device of `vertices`) are changed; without a body a pixel stays as it is. Raises
    `InputError` as `render`.
    """
    size = (pictures.shape[1], pictures.shape[2])
    _paint(vertices, faces, K, size, look, _checked_window(window, size), pictures, alpha)


def _paint(
    vertices: Tensor,
    faces: Tensor,
    K: Tensor,
    size: tuple[int, int],
    look: Look,
    window: PixelWindow,
    into: Tensor,
    alpha: float | None,
) -> None:
    """Fill layers, or draw over pictures where there is an `alpha`."""
    _check_mesh(vertices, faces, size)
    finer, (left, top, right, bottom) = look.finer, window
    vertices = vertices.detach().to(torch.float32).contiguous()
    faces = faces.to(device=vertices.device, dtype=torch.int32).contiguous()
    cameras = _one_camera_per_mesh(scaled_intrinsics(K, (float(finer), float(finer))), vertices)
    if into.numel() == 0 or len(faces) == 0:
        return
    with _torch_stream(vertices.device):
        from hmralign.rendering import zbuffer_kernels as kernels

        wp, screen, topology = kernels.wp, torch.empty_like(vertices), _topology_of(faces, vertices.shape[1])
        fine = (left * finer, top * finer, right * finer, bottom * finer)
        # Behind the fronts of a closed mesh nothing is seen, unless a part of it is cut off by the near plane.
        fronts_only = topology.closed and bool((vertices[..., 2] > NEAR).all())
        keys = _winning_keys(vertices, faces, cameras, fine, screen, fronts_only)
        vectors = [screen, vertices, _vertex_normals(vertices, faces, topology)]
        warp_screen, warp_vertices, normals = (wp.from_torch(t, dtype=wp.vec3) for t in vectors)
        mesh = [wp.from_torch(keys), warp_screen, warp_vertices, wp.from_torch(faces, dtype=wp.vec3i), normals]
        colors, nearest = _look_arrays(look, vertices)
        paint = [wp.vec3(*look.color), wp.from_torch(colors, dtype=wp.vec3), wp.vec3(*look.light)]
        paint += [wp.from_torch(nearest), look.faint]
        none = torch.zeros(0, 0, 0, 4, device=into.device) if alpha is not None else into.new_zeros(0, 0, 0, 3).byte()
        layers, pictures = (into, none) if alpha is None else (none, into)
        targets = [wp.from_torch(layers, dtype=wp.vec4), alpha or 0.0, wp.from_torch(pictures, dtype=wp.vec3ub)]
        shape = len(vertices), bottom - top, _runs(right - left)
        launch(kernels.paint, shape, [*mesh, *fine[:2], finer, *paint, *targets], warp_screen.device)


def _runs(count: int) -> int:
    """Threads for that many pixels, triangles or vertices."""
    from hmralign.rendering.zbuffer_kernels import RUN

    return (count + RUN - 1) // RUN


def _look_arrays(look: Look, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Colours of the vertices and nearest depth as the kernels take them: empty where there are none."""
    colors = torch.zeros(0, 0, 3, device=vertices.device) if look.colors is None else look.colors.to(vertices)
    nearest = torch.zeros(0, 0, device=vertices.device) if look.nearest is None else look.nearest.to(vertices)
    return colors if look.colors is None else colors.contiguous(), nearest


def _checked_window(window: PixelWindow | None, size: tuple[int, int]) -> PixelWindow:
    left, top, right, bottom = window or (0, 0, size[1], size[0])
    if window is not None and not (0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]):
        raise InputError(f"window {window} is no part of a picture of {size[1]} x {size[0]} pixels")
    return left, top, right, bottom


def _torch_stream(device: torch.device) -> AbstractContextManager:
    """On a GPU, run kernels in order with torch's work, so that neither has to wait for the whole device."""
    if device.type != "cuda":
        return nullcontext()
    from hmralign.rendering.zbuffer_kernels import wp

    return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)))


def _checked_outputs(outputs: Collection[OutputName]) -> frozenset[str]:
    wanted = frozenset([outputs] if isinstance(outputs, str) else outputs)
    unknown = wanted - set(get_args(OutputName))
    if unknown or not wanted:
        raise InputError(
            f"outputs {sorted(unknown) or '()'} cannot be rendered; expected some of {', '.join(get_args(OutputName))}"
        )
    return wanted


def _check_mesh(vertices: Tensor, faces: Tensor, size: tuple[int, int]) -> None:
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise InputError(f"vertices have shape {tuple(vertices.shape)}; expected (batch, vertices, 3)")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise InputError(f"faces have shape {tuple(faces.shape)}; expected (faces, 3)")
    if min(size) < 1:
        raise InputError(f"picture size {size} is empty; expected (height, width) of at least one pixel each")
    if not torch.isfinite(vertices).all():
        raise InputError("vertices contain NaN or infinity; expected finite metres")
    if faces.numel() and (int(faces.min()) < 0 or int(faces.max()) >= vertices.shape[1]):
        raise InputError(
            f"faces name vertices {int(faces.min())} to {int(faces.max())}; the mesh has 0 to {vertices.shape[1] - 1}"
        )


def _one_camera_per_mesh(K: Tensor, vertices: Tensor) -> Float[Tensor, "batch 3 3"]:
    K = K.detach().to(device=vertices.device, dtype=torch.float32)
    batch = vertices.shape[0]
    if K.shape not in ((3, 3), (batch, 3, 3)):
        raise InputError(f"K has shape {tuple(K.shape)}; expected (3, 3) or ({batch}, 3, 3), one per mesh")
    bottom = torch.tensor([0.0, 0.0, 1.0], device=K.device)
    if not torch.isfinite(K).all() or not (K[..., 2, :] == bottom).all():
        raise InputError("K is not a pinhole camera: expected finite numbers and a last row of (0, 0, 1)")
    return K.expand(batch, 3, 3).contiguous()


def _render(
    vertices: Tensor, faces: Tensor, cameras: Tensor, window: PixelWindow, wanted: frozenset[str]
) -> RenderOutput:
    from hmralign.rendering.zbuffer_kernels import EMPTY_KEY

    screen = torch.empty_like(vertices)
    if wanted == {"silhouette"}:
        return RenderOutput(silhouette=_covered(vertices, faces, cameras, window, screen))
    keys = _winning_keys(vertices, faces, cameras, window, screen)
    seen = keys != EMPTY_KEY
    silhouette = seen if "silhouette" in wanted else None
    # The low half of a key is the triangle, and that of an empty one is -1.
    face_index = keys.to(torch.int32) if "face_index" in wanted else None
    depth, bary, normals = _resolve(keys, seen, screen, vertices, faces, window, wanted)
    return RenderOutput(depth, normals, silhouette, face_index, bary)


def _winning_keys(
    vertices: Tensor,
    faces: Tensor,
    cameras: Tensor,
    window: PixelWindow,
    screen: Tensor,
    fronts_only: bool = False,
) -> Int[Tensor, "batch height width"]:
    """Project (filling `screen`) and rasterise."""
    from hmralign.rendering import zbuffer_kernels as kernels

    left, top, right, bottom = window
    shape = vertices.shape[0], bottom - top, right - left
    keys = torch.full(shape, kernels.EMPTY_KEY, dtype=torch.int64, device=vertices.device)
    _walk(kernels.rasterize, vertices, faces, cameras, window, screen, fronts_only, keys)
    return keys


def _covered(
    vertices: Tensor, faces: Tensor, cameras: Tensor, window: PixelWindow, screen: Tensor
) -> Bool[Tensor, "batch height width"]:
    """Project (filling `screen`) and see which pixels are covered."""
    from hmralign.rendering import zbuffer_kernels as kernels

    left, top, right, bottom = window
    covered = torch.zeros(vertices.shape[0], bottom - top, right - left, dtype=torch.uint8, device=vertices.device)
    # A ray that leaves a closed mesh has entered it: its fronts cover what its backs do.
    fronts_only = _topology_of(faces, vertices.shape[1]).closed and bool((vertices[..., 2] > NEAR).all())
    _walk(kernels.cover, vertices, faces, cameras, window, screen, fronts_only, covered)
    return covered.bool()


def _walk(
    kernel: Any,
    vertices: Tensor,
    faces: Tensor,
    cameras: Tensor,
    window: PixelWindow,
    screen: Tensor,
    fronts_only: bool,
    into: Tensor,
) -> None:
    """Project (filling `screen`), and let a kernel walk the triangles of all meshes."""
    from hmralign.rendering import zbuffer_kernels as kernels

    if vertices.shape[0] == 0 or faces.shape[0] == 0:
        return
    wp = kernels.wp
    warp_screen, target = wp.from_torch(screen, dtype=wp.vec3), wp.from_torch(into)
    warp_vertices, warp_cameras = wp.from_torch(vertices, dtype=wp.vec3), wp.from_torch(cameras, dtype=wp.mat33)
    device = target.device
    launch(kernels.project, tuple(vertices.shape[:2]), [warp_vertices, warp_cameras, warp_screen], device)
    triangles = (vertices.shape[0], _runs(faces.shape[0]))
    where = [NEAR, *window[:2], int(fronts_only)]
    launch(kernel, triangles, [warp_screen, wp.from_torch(faces, dtype=wp.vec3i), *where, target], device)


def _resolve(
    keys: Tensor,
    seen: Tensor,
    screen: Tensor,
    vertices: Tensor,
    faces: Tensor,
    window: PixelWindow,
    wanted: frozenset[str],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The asked-for ones of (depth, barycentric, normals)."""
    from hmralign.rendering import zbuffer_kernels as kernels

    asked = ["depth" in wanted, "barycentric" in wanted, "normals" in wanted]
    if not any(asked):
        return None, None, None
    wp, shape, device = kernels.wp, tuple(keys.shape), keys.device
    none = (0, 0, 0)  # the kernel skips pictures of this shape
    depth = torch.full(shape if asked[0] else none, torch.inf, device=device)
    bary = torch.zeros((*(shape if asked[1] else none), 3), device=device)
    normals = torch.zeros((*(shape if asked[2] else none), 3), device=device)
    at_vertices = vertex_normals(vertices, faces) if asked[2] else vertices
    covered = seen.flatten().nonzero()[:, 0]
    if len(covered):
        vectors = [wp.from_torch(t, dtype=wp.vec3) for t in (screen, vertices, at_vertices, bary, normals)]
        warp_screen, warp_vertices, warp_normals, bary_image, normal_image = vectors
        winners = [wp.from_torch(covered), wp.from_torch(keys), warp_screen]
        mesh = [warp_vertices, wp.from_torch(faces, dtype=wp.vec3i), warp_normals]
        pictures = [*window[:2], wp.from_torch(depth), bary_image, normal_image]
        launch(kernels.resolve, len(covered), [*winners, *mesh, *pictures], warp_screen.device)
    return depth if asked[0] else None, bary if asked[1] else None, normals if asked[2] else None


def vertex_normals(
    vertices: Float[Tensor, "batch vert 3"], faces: Int[Tensor, "face 3"]
) -> Float[Tensor, "batch vert 3"]:
    """Area-weighted unit vertex normals, outside by the face winding; zeros for a vertex without faces.

    Summed per vertex in the order of the faces, so the result is the same to the bit on every run.
    """
    vertices = vertices.detach().to(torch.float32).contiguous()
    faces = faces.to(device=vertices.device, dtype=torch.int32).contiguous()
    with _torch_stream(vertices.device):
        return _vertex_normals(vertices, faces, _topology_of(faces, vertices.shape[1]))


def _vertex_normals(vertices: Tensor, faces: Tensor, topology: _Topology) -> Tensor:
    from hmralign.rendering import zbuffer_kernels as kernels

    wp, normals = kernels.wp, torch.zeros_like(vertices)
    warp_vertices, warp_faces = wp.from_torch(vertices, dtype=wp.vec3), wp.from_torch(faces, dtype=wp.vec3i)
    inputs = [warp_vertices, warp_faces, wp.from_torch(topology.start), wp.from_torch(topology.incident)]
    shape = vertices.shape[0], _runs(vertices.shape[1])
    launch(kernels.vertex_normals, shape, [*inputs, wp.from_torch(normals, dtype=wp.vec3)], warp_vertices.device)
    return normals


@dataclass(frozen=True)
class _Topology:
    """What depends on the faces alone. Faces of vertex `v` are `incident[start[v]:start[v + 1]]`, ascending.

    `closed`: every edge belongs to as many faces in one direction as in the other, so that from outside no inner side
    is the nearest surface, whatever place the vertices take.
    """

    start: Int[Tensor, " rows"]
    incident: Int[Tensor, " corner"]
    closed: bool


def _topology_of(faces: Tensor, num_vertices: int) -> _Topology:
    """By the content of `faces`: bodies of one model are drawn again and again, with equal faces in new tensors."""
    return _topology(faces.cpu().numpy().tobytes(), num_vertices, faces.device)


@lru_cache(maxsize=8)
def _topology(content: bytes, num_vertices: int, device: torch.device) -> _Topology:
    faces = torch.from_numpy(np.frombuffer(content, np.int32).reshape(-1, 3).astype(np.int64))
    corner = faces.flatten()
    incident = (torch.sort(corner, stable=True).indices // 3).to(torch.int32)
    start = torch.zeros(num_vertices + 1, dtype=torch.int32)
    start[1:] = torch.bincount(corner, minlength=num_vertices).cumsum(0)
    here, there = corner, faces.roll(-1, dims=1).flatten()
    one_way, other_way = (here * num_vertices + there).sort()[0], (there * num_vertices + here).sort()[0]
    return _Topology(start.to(device), incident.to(device), bool(torch.equal(one_way, other_way)))
