"""Three names for one prediction: noise `eps`, clean sample `x_0`, velocity `v` (Salimans & Ho 2022, app. D).

x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps
v   = sqrt(ab) eps - sqrt(1 - ab) x_0

A network may predict any of the three inside; `v_from` turns its output into v. From eps that divides by the signal's
share, from x_0 by the noise's, and both vanish at one end of the schedule, where the output says nothing of v and its
errors would be magnified without bound. There the divisor stays at `GUARD`: beyond it a network learns
sqrt(1 - ab) x_t + GUARD v instead of eps (sqrt(ab) x_t - GUARD v instead of x_0), and the loss of v keeps its size.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

PredictionType = Literal["v", "eps", "x_0"]

GUARD = 0.1
"""Smallest divisor: reached in the last and in the first 6 % of a cosine schedule."""


def _spread(alpha_bar: Float[Tensor, "*batch"], like: Tensor) -> Tensor:
    return alpha_bar[(..., *[None] * (like.ndim - alpha_bar.ndim))]  # (*B, 1, ...)


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


def v_from_eps(eps: Float[Tensor, "*any"], x_t: Float[Tensor, "*any"], alpha_bar: Float[Tensor, "*batch"]) -> Tensor:
    """v = (eps - sqrt(1 - ab) x_t) / sqrt(ab), guarded towards t = T."""
    ab = _spread(alpha_bar, x_t)
    return (eps - (1 - ab).sqrt() * x_t) / ab.sqrt().clamp(min=GUARD)


def v_from_x_0(x_0: Float[Tensor, "*any"], x_t: Float[Tensor, "*any"], alpha_bar: Float[Tensor, "*batch"]) -> Tensor:
    """v = (sqrt(ab) x_t - x_0) / sqrt(1 - ab), guarded towards t = 0."""
    ab = _spread(alpha_bar, x_t)
    return (ab.sqrt() * x_t - x_0) / (1 - ab).sqrt().clamp(min=GUARD)


def v_from(
    prediction: PredictionType,
    output: Float[Tensor, "*any"],
    x_t: Float[Tensor, "*any"],
    alpha_bar: Float[Tensor, "*batch"],
) -> Float[Tensor, "*any"]:
    """v of what a network predicted."""
    if prediction == "eps":
        return v_from_eps(output, x_t, alpha_bar)
    return v_from_x_0(output, x_t, alpha_bar) if prediction == "x_0" else output


def x_0_from_eps(eps: Float[Tensor, "*any"], x_t: Float[Tensor, "*any"], alpha_bar: Float[Tensor, "*batch"]) -> Tensor:
    """x_0 = (x_t - sqrt(1 - ab) eps) / sqrt(ab)."""
    ab = _spread(alpha_bar, x_t)
    return (x_t - (1 - ab).sqrt() * eps) / ab.sqrt()
