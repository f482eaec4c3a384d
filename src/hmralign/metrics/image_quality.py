"""How alike two pictures are: PSNR and SSIM, one number per picture.

SSIM: Wang et al. 2004, eq. 13 with a Gaussian window of standard deviation 1.5 over 11 pixels, C1 = (0.01 L)^2 and
C2 = (0.03 L)^2; only places where the window lies inside the picture count. Both say how near pixels are, and neither
says that a body's pose is right: a blurred average of poses has good figures.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError

_WINDOW = 11
_SIGMA = 1.5


def psnr(
    made: Float[Tensor, "*batch channel h w"], true: Float[Tensor, "*same channel h w"], span: float = 1.0
) -> Float[Tensor, "*batch"]:
    """10 log10(span^2 / mean squared error) in decibel; infinite for equal pictures. `span` is L, white minus black.

    Raises InputError for other shapes, and for pixels that are not finite.
    """
    _require_comparable(made, true)
    return 10 * torch.log10(span**2 / (made - true).square().mean((-3, -2, -1)))


def ssim(
    made: Float[Tensor, "*batch channel h w"], true: Float[Tensor, "*same channel h w"], span: float = 1.0
) -> Float[Tensor, "*batch"]:
    """Mean structural similarity over places and channels, at most 1. Errors as `psnr`, and for less than 11 pixels."""
    _require_comparable(made, true)
    if min(made.shape[-2:]) < _WINDOW:
        raise InputError(f"SSIM needs pictures of at least {_WINDOW} pixels a side, got {tuple(made.shape[-2:])}")
    x, y = (picture.reshape(-1, 1, *picture.shape[-2:]) for picture in (made, true))  # (N C, 1, h, w)
    mean_x, mean_y, square_x, square_y, product = (_windowed(v) for v in (x, y, x * x, y * y, x * y))
    variance_x, variance_y = square_x - mean_x.square(), square_y - mean_y.square()
    shared = product - mean_x * mean_y
    c_1, c_2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    likeness = (2 * mean_x * mean_y + c_1) / (mean_x.square() + mean_y.square() + c_1)
    likeness = likeness * (2 * shared + c_2) / (variance_x + variance_y + c_2)
    return likeness.mean((-3, -2, -1)).reshape(made.shape[:-2]).mean(-1)


def _windowed(x: Float[Tensor, "n 1 h w"]) -> Tensor:
    place = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - (_WINDOW - 1) / 2
    line = torch.exp(-place.square() / (2 * _SIGMA**2))
    line = line / line.sum()
    down = torch.nn.functional.conv2d(x, line.view(1, 1, -1, 1))
    return torch.nn.functional.conv2d(down, line.view(1, 1, 1, -1))


def soft_iou(made: Float[Tensor, "*batch h w"], true: Float[Tensor, "*same h w"]) -> Float[Tensor, "*batch"]:
    """Sum of the smaller over sum of the larger share of each pixel; 1 for two empty masks. Shares are in 0..1."""
    _require_comparable(made, true)
    made, true = made.clamp(0, 1), true.clamp(0, 1)
    together, either = torch.minimum(made, true).sum((-2, -1)), torch.maximum(made, true).sum((-2, -1))
    return torch.where(either > 0, together / either.clamp(min=1e-12), 1.0)


def haze(mask: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch"]:
    """Share of a soft mask that is neither there nor not, sum of 4 m (1 - m) over sum of m; 0 for an empty one.

    A hard mask has 0 and a body of one pixel's edges some; a mean of several bodies has much.
    """
    shares = mask.clamp(0, 1)
    total = shares.sum((-2, -1))
    return torch.where(total > 0, (4 * shares * (1 - shares)).sum((-2, -1)) / total.clamp(min=1e-12), 0.0)


def _require_comparable(made: Tensor, true: Tensor) -> None:
    if made.shape != true.shape:
        raise InputError(f"pictures of shapes {tuple(made.shape)} and {tuple(true.shape)} cannot be compared")
    if not bool(torch.isfinite(made).all() and torch.isfinite(true).all()):
        raise InputError("pictures have pixels that are not finite")
