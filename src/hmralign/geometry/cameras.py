"""Pinhole cameras, viewing rays, intrinsics of unknown photos, and the square crop around a person.

Conventions: Hartley & Zisserman 2004, ch. 6 and 8. Frame `cam` (x right, y down, z forward), pixel (0, 0) is the centre
of the top-left pixel, so the outer border of an image runs from -0.5 to width - 0.5. The focal length of a photo that
says nothing is its diagonal, as in CLIFF (Li et al. 2022, sec. 3) and the in-the-wild demo of ScoreHypo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.swing_twist import swing_between
from hmralign.structures import Camera, InputError
from hmralign.structures.camera import IntrinsicsSource

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
"""Diagonal of a 35 mm film frame, 43.27 mm."""

PLAUSIBLE_FOCAL_DIAGONALS = (0.3, 20.0)
"""Focal lengths outside this range, in image diagonals, are taken for broken EXIF."""

CROP_MARGIN = 1.25
"""Side of the crop in units of the longer box side."""

_MM_PER_FOCAL_PLANE_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_MAX_ASPECT_CHANGE = 0.02


def project(points_cam: Float[Tensor, "*#batch n 3"], K: Float[Tensor, "*#batch 3 3"]) -> Float[Tensor, "... n 2"]:
    """Pixels of points in the `cam` frame (metres); leading axes broadcast.

    Only points with z > 0 are seen: at z = 0 the result is not finite, and behind the camera it is the pixel of the
    opposite ray. The caller decides what to do with those.
    """
    homogeneous = points_cam @ K.mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


def rays(pixels: Float[Tensor, "*#batch n 2"], K: Float[Tensor, "*#batch 3 3"]) -> Float[Tensor, "... n 3"]:
    """Unit viewing rays (`cam` frame) through pixels; the inverse of `project` up to depth. Leading axes broadcast."""
    K = K[..., None, :, :]
    y = (pixels[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
    x = (pixels[..., 0] - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
    return torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-1), dim=-1)


def estimate_intrinsics(width: int, height: int) -> Camera:
    """Guess from the image size: focal length = image diagonal in pixels, principal point in the middle of the image.

    This is the rule of CLIFF (a field of view of about 53 degrees over the diagonal) and of ScoreHypo's demo. The
    result has source "estimated": viewing rays made from it are no evidence.
    """
    _require_size(width, height)
    return _centred_camera(math.hypot(width, height), width, height, "estimated")


def intrinsics_from_exif(exif: Mapping[str, Any], width: int, height: int) -> Camera | None:
    """Camera of an uncropped photo of `width` x `height` pixels (resized or turned is fine), or None.

    `exif` maps the tag names of the EXIF standard to numbers. `FocalLengthIn35mmFilm` is used first, read as *diagonal*
    equivalence (CIPA DCG-001): f_px = f_35 / 43.27 mm * diagonal in pixels. Makers who mean horizontal equivalence are
    4 % off on 4:3 sensors. Otherwise `FocalLength` (mm) with `FocalPlaneXResolution` and its unit.

    None, rather than a doubtful number, where tags are absent or not positive numbers, where the focal length is
    outside `PLAUSIBLE_FOCAL_DIAGONALS`, or where the recorded pixel size has another aspect ratio: the photo was then
    cropped, and neither focal length nor principal point are known.
    """
    _require_size(width, height)
    if _cropped(exif, width, height):
        return None
    diagonal = math.hypot(width, height)
    focal = _focal_from_film(exif, diagonal)
    if focal is None:
        focal = _focal_from_sensor(exif, max(width, height))
    low, high = PLAUSIBLE_FOCAL_DIAGONALS
    if focal is None or not low <= focal / diagonal <= high:
        return None
    return _centred_camera(focal, width, height, "exif")


def scaled_pixels(pixels: Float[Tensor, "*batch 2"], scale: tuple[float, float]) -> Float[Tensor, "*batch 2"]:
    """Pixels after the image was resized by `scale` = (new width / old width, new height / old height)."""
    factor = torch.tensor(scale, dtype=pixels.dtype, device=pixels.device)
    return (pixels + 0.5) * factor - 0.5


def scaled_intrinsics(K: Float[Tensor, "*batch 3 3"], scale: tuple[float, float]) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics after the image was resized by `scale` = (new width / old width, new height / old height)."""
    sx, sy = scale
    return cropped_intrinsics(K, K.new_tensor([[sx, 0.0, (sx - 1) / 2], [0.0, sy, (sy - 1) / 2]]))


def cropped_intrinsics(
    K: Float[Tensor, "*#batch 3 3"], A_crop_image: Float[Tensor, "*#batch 2 3"]
) -> Float[Tensor, "... 3 3"]:
    """Intrinsics of the crop that `A_crop_image` (for example of `crop_affine`) cuts out; leading axes broadcast."""
    top = A_crop_image @ K
    return torch.cat([top, K[..., 2:, :].expand(*top.shape[:-2], 1, 3)], dim=-2)


def look_at_rotation(ray: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """`R_virtual_cam` of the virtual camera that looks along `ray` (`cam` frame, any length) from the same place.

    p_virtual = R_virtual_cam @ p_cam. It is the smallest rotation that does so; a ray exactly backwards is reached by
    half a turn about a fixed axis. Raises `InputError` on rays of zero length or that are not finite.
    """
    length = ray.norm(dim=-1, keepdim=True)
    if not bool((torch.isfinite(length) & (length > 0)).all()):
        raise InputError("look_at_rotation: a ray has zero length or is not finite; expected directions.")
    forward = torch.zeros_like(ray)
    forward[..., 2] = 1.0
    return swing_between(ray / length, forward)


def crop_affine(
    box: Float[Tensor, "*batch 4"], size: int, margin: float = CROP_MARGIN
) -> tuple[Float[Tensor, "*batch 2 3"], Float[Tensor, "*batch 2 3"]]:
    """`(A_crop_image, A_image_crop)`: affine maps between image pixels and the `size` x `size` crop around a box.

    The crop is the square with side `margin * max(width, height)` around the centre of the box (x0, y0, x1, y1). The
    box centre falls on the centre of the crop, pixel ((size - 1) / 2, (size - 1) / 2); the square's border on -0.5 and
    size - 0.5. Raises `InputError` where a box is empty or not finite.
    """
    side = margin * (box[..., 2:] - box[..., :2]).amax(dim=-1)
    if not bool((torch.isfinite(box).all(dim=-1) & (side > 0)).all()):
        raise InputError("crop_affine: a box is empty or not finite; expected (x0, y0, x1, y1) with x1 > x0, y1 > y0.")
    centre = (box[..., :2] + box[..., 2:]) / 2
    middle = (size - 1) / 2
    return _scale_about(size / side, centre, middle), _scale_about(side / size, torch.full_like(centre, middle), centre)


def apply_affine(A: Float[Tensor, "*#batch 2 3"], pixels: Float[Tensor, "*#batch n 2"]) -> Float[Tensor, "... n 2"]:
    """Map pixels by a 2x3 affine; leading axes broadcast."""
    return pixels @ A[..., :2].mT + A[..., None, :, 2]


def _scale_about(
    zoom: Float[Tensor, "*batch"], source: Float[Tensor, "*batch 2"], target: Float[Tensor, "*batch 2"] | float
) -> Float[Tensor, "*batch 2 3"]:
    """The affine p -> zoom * (p - source) + target."""
    linear = zoom[..., None, None] * torch.eye(2, dtype=source.dtype, device=source.device)
    return torch.cat([linear, (target - zoom[..., None] * source)[..., None]], dim=-1)


def _centred_camera(focal: float, width: int, height: int, source: IntrinsicsSource) -> Camera:
    K = torch.tensor([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    return Camera(K, width, height, source)


def _require_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InputError(f"Image size {width} x {height} is not positive; expected width and height in pixels.")


def _positive(exif: Mapping[str, Any], tag: str) -> float | None:
    """The tag as a positive finite number, else None: cameras write 0, 0/0 or text where they know nothing."""
    try:
        value = float(exif[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _recorded_size(exif: Mapping[str, Any]) -> tuple[float, float] | None:
    """Shorter and longer side of the photo as the camera wrote it, in pixels, where both are recorded."""
    x, y = _positive(exif, "PixelXDimension"), _positive(exif, "PixelYDimension")
    return None if x is None or y is None else (min(x, y), max(x, y))


def _cropped(exif: Mapping[str, Any], width: int, height: int) -> bool:
    """Whether the aspect ratio is not the recorded one, whichever way up the photo is."""
    recorded = _recorded_size(exif)
    if recorded is None:
        return False
    ratio = (recorded[0] / recorded[1]) / (min(width, height) / max(width, height))
    return abs(ratio - 1) > _MAX_ASPECT_CHANGE


def _focal_from_film(exif: Mapping[str, Any], diagonal: float) -> float | None:
    equivalent_mm = _positive(exif, "FocalLengthIn35mmFilm")
    return None if equivalent_mm is None else equivalent_mm / FILM_DIAGONAL_MM * diagonal


def _focal_from_sensor(exif: Mapping[str, Any], long_side: int) -> float | None:
    """Focal length in pixels of this image; the focal plane resolution counts pixels of the image as recorded."""
    focal_mm, per_unit = _positive(exif, "FocalLength"), _positive(exif, "FocalPlaneXResolution")
    unit_mm = _MM_PER_FOCAL_PLANE_UNIT.get(int(_positive(exif, "FocalPlaneResolutionUnit") or 2))
    if focal_mm is None or per_unit is None or unit_mm is None:
        return None
    recorded = _recorded_size(exif)
    return focal_mm * per_unit / unit_mm * (1.0 if recorded is None else long_side / recorded[1])
