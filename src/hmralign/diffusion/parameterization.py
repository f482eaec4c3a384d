"""Three names for one prediction: noise `eps`, clean sample `x_0`, velocity `v` (Salimans & Ho 2022, app. D).

x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps
v   = sqrt(ab) eps - sqrt(1 - ab) x_0
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def _spread(alpha_bar: Float[Tensor, "*batch"], like: Tensor) -> Tensor:
    return alpha_bar.reshape(alpha_bar.shape + (1,) * (like.ndim - alpha_bar.ndim))


def add_noise(x_0: Float[Tensor, "*any"], eps: Float[Tensor, "*any"], alpha_bar: Float[Tensor, "*batch"]) -> Tensor:
    """Forward process: x_t. `alpha_bar` has the leading axes of `x_0`."""
    ab = _spread(alpha_bar, x_0)
    return ab.sqrt() * x_0 + (1 - ab).sqrt() * eps


def velocity(x_0: Float[Tensor, "*any"], eps: Float[Tensor, "*any"], alpha_bar: Float[Tensor, "*batch"]) -> Tensor:
    """v of a clean sample and its noise."""
    ab = _spread(alpha_bar, x_0)
    return ab.sqrt() * eps - (1 - ab).sqrt() * x_0


def eps_from_v(v: Float[Tensor, "*any"], x_t: Float[Tensor, "*any"], alpha_bar: Float[Tensor, "*batch"]) -> Tensor:
    """eps = sqrt(ab) v + sqrt(1 - ab) x_t."""
    ab = _spread(alpha_bar, x_t)
    return ab.sqrt() * v + (1 - ab).sqrt() * x_t


def x_0_from_eps(eps: Float[Tensor, "*any"], x_t: Float[Tensor, "*any"], alpha_bar: Float[Tensor, "*batch"]) -> Tensor:
    """x_0 = (x_t - sqrt(1 - ab) eps) / sqrt(ab)."""
    ab = _spread(alpha_bar, x_t)
    return (x_t - (1 - ab).sqrt() * eps) / ab.sqrt()
