"""Joints of the 29 of HybrIK, or the first 24 of them, in metres whatever the file's unit."""

from __future__ import annotations

import numpy as np

from hmralign.adapters.faults import WrongRecordError
from hmralign.adapters.fields import Fields

_METRES = (0.3, 4.0)
"""Extent of a person's joints, the longest side of the box around them."""
_NEAR_ORIGIN, _NEAR_ROOT = 0.005, 0.3
"""Metres: a pelvis that is the origin, and one that is where the root is said to be."""


def joints_29(joints: np.ndarray) -> np.ndarray:
    """(29, 2 or 3) from 24 or 29 rows; what is not there is NaN."""
    full = np.full((29, joints.shape[-1]), np.nan)
    full[: len(joints)] = joints
    return full


def joint_numbers(fields: Fields, key: str, *columns: int) -> np.ndarray:
    """24 or 29 rows of so many columns, flat or not. Raises WrongRecordError for any other number."""
    found = fields.numbers(key)
    for column in columns:
        for rows in (24, 29):
            if found.shape in ((rows, column), (rows * column,)):
                return found.reshape(rows, column)
    raise WrongRecordError(
        f"'{key}' has the shape {found.shape}, expected 24 or 29 joints of {' or '.join(map(str, columns))} numbers"
    )


def in_metres(joints: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """Joints in metres and the factor: files of one data set mix metres (test) and millimetres (train).

    A person measures 0.3 to 4 m in one of the two units and never in both. Raises WrongRecordError for neither.
    """
    extent = float(np.ptp(joints, axis=0).max())
    for factor in (1.0, 1e-3):
        if _METRES[0] < extent * factor < _METRES[1]:
            return joints * factor, factor
    raise WrongRecordError(f"'{name}' spans {extent:.3g}, which is a person neither in metres nor in millimetres")


def at_root(joints: np.ndarray, root: np.ndarray | None, name: str) -> np.ndarray | None:
    """Joints in `cam` (metres), whether the file has them there or relative to the pelvis; None where nothing says.

    `root` is where the file says the pelvis is. Raises WrongRecordError where joints are at neither.
    """
    centred = np.linalg.norm(joints[0]) < _NEAR_ORIGIN
    if root is None:
        return None if centred else joints
    if centred:
        return joints + root
    if np.linalg.norm(joints[0] - root) > _NEAR_ROOT:
        raise WrongRecordError(f"'{name}' begins neither at the origin nor where the root is said to be")
    return joints
