"""Joints of the 29 of HybrIK, or the first 24 of them, in metres whatever the file's unit.

Everything has a first axis of records, which are all alike; where they are not, WrongRecordError is raised for them
together (`record_block`).
"""

from __future__ import annotations

import numpy as np

from hmralign.adapters.faults import WrongRecordError
from hmralign.adapters.record_block import Block

_METRES = (0.3, 4.0)
"""Extent of a person's joints, the longest side of the box around them."""
_NEAR_ORIGIN, _NEAR_ROOT = 0.005, 0.3
"""Metres: a pelvis that is the origin, and one that is where the root is said to be."""


def joints_29(joints: np.ndarray) -> np.ndarray:
    """(N, 29, 2 or 3) from 24 or 29 rows; what is not there is NaN."""
    return np.pad(joints, ((0, 0), (0, 29 - joints.shape[1]), (0, 0)), constant_values=np.nan)


def joint_numbers(block: Block, key: str, *columns: int) -> np.ndarray:
    """(N, 24 or 29, columns), flat or not. Raises WrongRecordError for any other number."""
    found = block.numbers(key)
    for column in columns:
        for rows in (24, 29):
            if found.shape[1:] in ((rows, column), (rows * column,)):
                return found.reshape(len(found), rows, column)
    raise WrongRecordError(
        f"'{key}' has the shape {found.shape[1:]}, expected 24 or 29 joints of {' or '.join(map(str, columns))} numbers"
    )


def in_metres(joints: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """Joints (N, joint, 3) in metres and the factor: files of one data set mix metres (test) and millimetres (train).

    A person measures 0.3 to 4 m in one of the two units and never in both. Raises WrongRecordError for neither.
    """
    extent = np.ptp(joints, axis=1).max(-1)
    for factor in (1.0, 1e-3):
        if ((_METRES[0] < extent * factor) & (extent * factor < _METRES[1])).all():
            return joints * factor, factor
    raise WrongRecordError(
        f"'{name}' spans {float(extent[0]):.3g}, which is a person neither in metres nor in millimetres"
    )


def at_root(joints: np.ndarray, root: np.ndarray | None, name: str) -> np.ndarray | None:
    """Joints in `cam` (metres), whether the file has them there or relative to the pelvis; None where nothing says.

    `root` (N, 3) is where the file says the pelvis is. Raises WrongRecordError where joints are at neither.
    """
    centred = np.linalg.norm(joints[:, 0], axis=-1) < _NEAR_ORIGIN
    if centred.any() and not centred.all():
        raise WrongRecordError(f"'{name}' begins at the origin for some records only")
    if root is None:
        return None if centred.all() else joints
    if centred.all():
        return joints + root[:, None]
    if (np.linalg.norm(joints[:, 0] - root, axis=-1) > _NEAR_ROOT).any():
        raise WrongRecordError(f"'{name}' begins neither at the origin nor where the root is said to be")
    return joints
