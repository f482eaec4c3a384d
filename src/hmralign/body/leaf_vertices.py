"""The five vertices at which a body ends: head top, middle fingertips, big-toe tips.

Released bodies do not name them, and vertex numbers differ between meshes, so they are found on the template in T-pose.
"""

from __future__ import annotations

import numpy as np

from hmralign.body.skeleton import JOINT_NAMES
from hmralign.structures import InputError

_OUTERMOST = {
    "head": (0.0, 1.0, 0.0),
    "left_hand": (1.0, 0.0, 0.0),
    "right_hand": (-1.0, 0.0, 0.0),
    "left_foot": (-0.34, 0.0, 0.94),
    "right_foot": (0.34, 0.0, 0.94),
}
"""Joint that carries the skin -> direction in which the leaf lies, in the order of the leaves.

20 degrees inwards for the feet: straight ahead the second toe often reaches as far as the big one.
"""


def find_leaf_vertices(v_template: np.ndarray, weights: np.ndarray) -> tuple[int, ...]:
    """Highest vertex of the head, outermost of each hand, foremost inner one of each foot; of equal ones the first.

    A vertex belongs to the joint with its largest weight. `v_template` (V, 3), `weights` (V, 24).
    """
    owner = weights.argmax(axis=1)
    found = []
    for joint, direction in _OUTERMOST.items():
        own = np.flatnonzero(owner == JOINT_NAMES.index(joint))
        if len(own) == 0:
            raise InputError(f"No vertex is skinned mainly to the joint '{joint}', where a leaf was expected.")
        found.append(int(own[(v_template[own] @ np.array(direction)).argmax()]))
    return tuple(found)
