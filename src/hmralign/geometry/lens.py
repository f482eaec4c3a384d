"""Lens distortion of real cameras: Brown's model with OpenCV's first four numbers, k1 k2 p1 p2.

Source: Brown 1966; OpenCV's camera calibration documentation, "Detailed Description". Everything else in the package
sees pinhole pictures, so pixels are undistorted before they are used.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError

_STEPS = 50
_TOLERANCE = 1e-6
"""Precision of the undistorted point, in focal lengths: about a thousandth of a pixel."""


def distort(points: Float[Tensor, "*batch n 2"], coefficients: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*out n 2"]:
    """Where the lens puts points x/z, y/z of the `cam` frame: the same unit, before K."""
    k1, k2, p1, p2 = coefficients[..., None, :].unbind(-1)
    x, y = points.unbind(-1)
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    return torch.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y],
        dim=-1,
    )


def undistort(
    points: Float[Tensor, "*batch n 2"], coefficients: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*out n 2"]:
    """The inverse of `distort`, by fixed-point iteration.

    Raises InputError where it does not converge: points beyond the field in which the lens model can be inverted.
    """
    found = points
    for _ in range(_STEPS):
        found = found + points - distort(found, coefficients)
    gap = (distort(found, coefficients) - points).abs()
    if not bool((gap < _TOLERANCE).all()):
        raise InputError("a lens distortion cannot be undone at a pixel; expected coefficients that fit the picture")
    return found


def undistorted_pixels(
    pixels: Float[Tensor, "*batch n 2"], K: Float[Tensor, "*#batch 3 3"], coefficients: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*out n 2"]:
    """Pixels of the pinhole camera with the same K. Errors as `undistort`; K without skew."""
    focal, centre = K[..., None, [0, 1], [0, 1]], K[..., None, :2, 2]
    return undistort((pixels - centre) / focal, coefficients) * focal + centre


def distorted_pixels(
    pixels: Float[Tensor, "*batch n 2"], K: Float[Tensor, "*#batch 3 3"], coefficients: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*out n 2"]:
    """Pixels of the real lens for those of the pinhole camera with the same K; K without skew."""
    focal, centre = K[..., None, [0, 1], [0, 1]], K[..., None, :2, 2]
    return distort((pixels - centre) / focal, coefficients) * focal + centre
