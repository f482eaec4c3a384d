"""A mesh from masks: the visual hull of a ring of views (Laurentini 1994), by marching cubes.

A point belongs to the hull as far as every view's mask says so: its value is the smallest share over the views, with
masks interpolated between pixels, and the surface is where it is one half. What no view's outline shows, such as the
inside of an elbow or what opposite views share, stays filled: the hull of true masks is the reference of every figure
that is measured on it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.rendering.ring import RingCameras
from hmralign.structures import InputError
from hmralign.structures.counted import counted

FINEST = 256
"""Points along each axis, at most: 17 million of them."""

_SAME_LINE = math.sin(math.radians(10.0))


def visual_hull(
    mask: Float[Tensor, "view h w"], ring: RingCameras, *, points: int | None = None, threshold: float = 0.5
) -> tuple[Float[Tensor, "vert 3"], Int[Tensor, "face 3"]]:
    """Vertices (metres from the ring's middle, in the photo's `cam` axes) and triangles wound outwards; closed.

    `points` of the grid along each axis are twice the pixels where nothing is said. Raises InputError for views that
    are not the ring's, masks that are not finite or show nobody, a ring that looks along one line only, a grid that is
    too fine, and for outlines that no body can have together.
    """
    _require_views(mask, ring)
    count = min(FINEST, 2 * ring.size) if points is None else points
    if not 8 <= count <= FINEST:
        raise InputError(f"a hull of {count} points along an axis; expected 8 to {FINEST}")
    # One pixel more on each side than the picture has, where every mask is empty: the surface is closed.
    reach = ring.extent / 2 * (1 + 4 / ring.size)
    along = torch.linspace(-reach, reach, count)
    shares = _smallest_share(mask.float().clamp(0, 1), ring, along)
    if float(shares.max()) <= threshold:
        raise InputError("the masks have no body in common; expected views of one person by the cameras of the ring")
    return _marching_cubes(shares, threshold, reach)


def _require_views(mask: Tensor, ring: RingCameras) -> None:
    if tuple(mask.shape) != (ring.num_views, ring.size, ring.size):
        raise InputError(
            f"masks of shape {tuple(mask.shape)}; expected {counted(ring.num_views, 'view')} of {ring.size} x "
            f"{ring.size} pixels, one for each camera of the ring"
        )
    if not bool(torch.isfinite(mask).all()):
        raise InputError("masks have values that are not finite")
    if (empty := [view for view, one in enumerate(mask) if float(one.max()) <= 0.5]) != []:
        raise InputError(f"nobody is seen in view {empty[0]} (azimuth {ring.azimuths[empty[0]]:g})")
    turns = [math.radians(a) for a in ring.azimuths]
    if all(abs(math.sin(a - b)) < _SAME_LINE for a in turns for b in turns):
        raise InputError(f"cameras at {ring.azimuths} degrees look along one line and say nothing of depth")


def _smallest_share(mask: Tensor, ring: RingCameras, along: Tensor) -> Float[Tensor, "x y z"]:
    """Over the views. Rows of a picture are heights, as cameras are level: a view is one of y and one of x, z."""
    smallest = torch.ones(len(along), len(along), len(along))
    x, z = torch.meshgrid(along, along, indexing="ij")
    half = ring.extent / 2
    for one, turn in zip(mask, ring.rotations, strict=True):
        across = turn[0, 0] * x + turn[0, 2] * z  # (X, Z), the picture's x of each place
        grid = torch.stack(torch.broadcast_tensors(across[:, None, :], along[None, :, None]), -1) / half
        # With corners of the outer pixels at -1 and 1, as `project` has it; outside is empty.
        shown = torch.nn.functional.grid_sample(one[None, None], grid.flatten(1, 2)[None], align_corners=False)
        smallest = torch.minimum(smallest, shown[0, 0].unflatten(1, (len(along), len(along))))
    return smallest


def _marching_cubes(shares: Tensor, threshold: float, reach: float) -> tuple[Tensor, Tensor]:
    from hmralign.rendering.warp_start import started_warp

    wp = started_warp()
    try:  # newer releases
        from warp.geometry import IsoSurfaceMarchingCubes as cubes  # pyright: ignore[reportAttributeAccessIssue]

        extract = cubes.extract
    except ImportError:
        extract = wp.MarchingCubes.extract_surface_marching_cubes
    vertices, corners = extract(wp.from_torch(shares.contiguous()), threshold)
    places = wp.to_torch(vertices).clone() * (2 * reach / (len(shares) - 1)) - reach
    return places, wp.to_torch(corners).clone().long().view(-1, 3).flip(-1)  # values grow inwards
