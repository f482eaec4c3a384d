"""The joints that move each vertex, at most four, as engines and glTF's first set of weights take them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

NUM_INFLUENCES = 4


def strongest_influences(
    weights: Float[np.ndarray, "vert joints"],
) -> tuple[Int[np.ndarray, "vert 4"], Float[np.ndarray, "vert 4"]]:
    """Joint numbers and weights of each vertex's four strongest joints, strongest first, renormalised to sum to one.

    Joints of no weight are number 0 with weight 0, as glTF asks.
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :NUM_INFLUENCES]
    kept = np.take_along_axis(weights, order, axis=1).astype(np.float64)
    kept /= kept.sum(axis=1, keepdims=True)
    return np.where(kept > 0, order, 0), kept


def dense_weights(
    joints: Int[np.ndarray, "vert 4"], weights: Float[np.ndarray, "vert 4"], num_joints: int
) -> Float[np.ndarray, "vert joints"]:
    """Influences as rows of weights, one column for each joint."""
    dense = np.zeros((len(joints), num_joints))
    np.add.at(dense, (np.arange(len(joints))[:, None], joints), weights)
    return dense
