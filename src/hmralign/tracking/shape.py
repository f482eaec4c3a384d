"""One shape per track: a person does not change it from frame to frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def one_shape(
    betas: Float[np.ndarray, "frame betas"], weight: Float[np.ndarray, " frame"]
) -> Float[np.ndarray, " betas"]:
    """The weighted median of each coefficient, which a stretch of wrong frames does not move far.

    >>> one_shape(np.array([[0.0], [1.0], [9.0]]), np.ones(3))
    array([1.])
    """
    order = np.argsort(betas, axis=0, kind="stable")
    ranked = np.take_along_axis(betas, order, axis=0)
    summed = np.cumsum(weight[order], axis=0)
    middle = (summed >= summed[-1] / 2).argmax(axis=0)
    return np.take_along_axis(ranked, middle[None], axis=0)[0]
