"""From a scorer's output to a number in (0, 1) that means something: the expected quality exp(-MPJPE / 0.1 m).

1 is a perfect body, 0.61 an error of 5 cm, 0.37 one of 10 cm, 0.14 one of 20 cm. The map is monotone (isotonic
regression, Barlow et al. 1972, on held-out persons) and strictly so, which keeps the order within every group.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError

QUALITY_UNIT = 0.1
"""Metres of MPJPE at which the quality is 1 / e."""

_KNOTS = 33
_SMALLEST_RISE = 1e-4
"""Between knots; without it outputs that calibrate alike would lose their order."""


def quality(mpjpe: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """exp(-error / 0.1 m)."""
    return torch.exp(-mpjpe / QUALITY_UNIT)


@dataclass(frozen=True)
class Calibration:
    """Piecewise linear between knots, and towards 0 and 1 beyond them without reaching either."""

    outputs: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raise InputError for knots that do not rise, are not finite, or leave (0, 1)."""
        x, y = np.array(self.outputs), np.array(self.scores)
        if len(x) < 2 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise InputError("a calibration needs at least 2 knots of finite numbers")
        if (np.diff(x) <= 0).any() or (np.diff(y) <= 0).any() or y[0] <= 0 or y[-1] >= 1:
            raise InputError("the knots of a calibration must rise, from above 0 to below 1")

    def __call__(self, output: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Scores in (0, 1); differentiable."""
        x, y = (torch.tensor(v, dtype=output.dtype, device=output.device) for v in (self.outputs, self.scores))
        slot = torch.searchsorted(x, output.detach().contiguous()).clamp(1, len(x) - 1)
        x_low, x_high, y_low, y_high = x[slot - 1], x[slot], y[slot - 1], y[slot]
        inside = y_low + (output - x_low) / (x_high - x_low) * (y_high - y_low)
        below = y[0] * torch.exp((output - x[0]).clamp(max=0))
        above = 1 - (1 - y[-1]) * torch.exp((x[-1] - output).clamp(max=0))
        return torch.where(output < x[0], below, torch.where(output > x[-1], above, inside))


def fit_calibration(outputs: Float[np.ndarray, " n"], mpjpe: Float[np.ndarray, " n"]) -> Calibration:
    """Isotonic fit of the quality on outputs of held-out hypotheses, thinned to a few knots.

    Raises InputError for too few hypotheses, or outputs that are all equal.
    """
    return fit_scale(outputs, np.exp(-mpjpe.astype(np.float64) / QUALITY_UNIT))


def fit_scale(outputs: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"]) -> Calibration:
    """Isotonic fit of any numbers in [0, 1] on outputs. Raises InputError as `fit_calibration`."""
    from scipy.optimize import isotonic_regression  # half a second, which using a calibration need not pay

    if len(outputs) < 2 * _KNOTS or float(np.ptp(outputs)) == 0:
        raise InputError(f"calibration needs at least {2 * _KNOTS} hypotheses whose outputs differ, got {len(outputs)}")
    order = np.argsort(outputs, kind="stable")
    x, y = outputs[order].astype(np.float64), wanted[order].astype(np.float64)
    fitted = np.asarray(isotonic_regression(y).x)
    edges = np.linspace(0, len(x), _KNOTS + 1).astype(int)
    blocks = [slice(a, b) for a, b in pairwise(edges)]
    knots_x = np.array([x[b].mean() for b in blocks])
    knots_y = np.array([fitted[b].mean() for b in blocks])
    kept = np.concatenate([[True], np.diff(knots_x) > 1e-6])
    knots_x, knots_y = knots_x[kept], knots_y[kept]
    floor = knots_y[0] + _SMALLEST_RISE * np.arange(len(knots_y))
    rising = np.maximum.accumulate(knots_y + _SMALLEST_RISE * np.arange(len(knots_y)))
    y_out = np.clip(np.maximum(rising, floor), 1e-3, None)
    top = 1 - 1e-3
    if y_out[-1] > top:
        y_out = y_out * (top / y_out[-1])
    return Calibration(tuple(knots_x.tolist()), tuple(y_out.tolist()))
