"""Bodies with fingers, a jaw and eyes (SMPL-H, SMPL-X) as bodies of 24 joints.

    fingers 2-5 -> the hand joint, which sits at the mean of their four roots
    thumb       -> the wrist
    jaw, eyes   -> the head

Skinning with the 24 joints then equals skinning with all of them as long as the joints folded away are not turned.
Turning a hand joint turns the four fingers as one, and brings the pose correctives of their four roots.
"""

from __future__ import annotations

import numpy as np

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS

_BODY = PARENTS[:22]
_LEFT_WRIST, _RIGHT_WRIST, _HEAD = (JOINT_NAMES.index(name) for name in ("left_wrist", "right_wrist", "head"))
_FINGERS, _PHALANGES = 5, 3
"""Index, middle, little, ring finger, thumb, in this order (Romero et al. 2017)."""


def _hand(wrist: int, first: int) -> tuple[int, ...]:
    """Parents of the 15 joints of a hand that starts at joint `first`."""
    roots = range(first, first + _FINGERS * _PHALANGES, _PHALANGES)
    return tuple(parent for root in roots for parent in (wrist, root, root + 1))


TREES: dict[int, tuple[int, ...]] = {
    24: PARENTS[:NUM_JOINTS],
    52: (*_BODY, *_hand(_LEFT_WRIST, 22), *_hand(_RIGHT_WRIST, 37)),
    55: (*_BODY, _HEAD, _HEAD, _HEAD, *_hand(_LEFT_WRIST, 25), *_hand(_RIGHT_WRIST, 40)),
}
"""Parents of each joint of SMPL, SMPL-H and SMPL-X, by the number of joints."""


def fold_hands(
    weights: np.ndarray, J_regressor: np.ndarray, posedirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (V, 24), regressor (24, V) and pose correctives (V, 3, 207) from those of 24, 52 or 55 joints."""
    count = weights.shape[1]
    if count == NUM_JOINTS:
        return weights, J_regressor, posedirs
    roots = (_finger_roots(count - 30), _finger_roots(count - 15))
    owner = [_owner(joint, count) for joint in range(count)]
    folded = weights @ np.eye(NUM_JOINTS)[owner]
    hands = np.stack([J_regressor[side].mean(axis=0) for side in roots])
    by_joint = posedirs.reshape(*posedirs.shape[:2], count - 1, 9)
    turned = np.stack([by_joint[:, :, [j - 1 for j in side]].sum(axis=2) for side in roots], axis=2)
    correctives = np.concatenate([by_joint[:, :, : len(_BODY) - 1], turned], axis=2)
    return folded, np.concatenate([J_regressor[: len(_BODY)], hands]), correctives.reshape(*posedirs.shape[:2], -1)


def _finger_roots(first: int) -> list[int]:
    """Roots of fingers 2-5 of the hand that starts at joint `first`."""
    return [first + _PHALANGES * finger for finger in range(_FINGERS - 1)]


def _owner(joint: int, count: int) -> int:
    """The joint of the 24 that carries the skin of `joint`."""
    if joint < len(_BODY):
        return joint
    left, right = count - 30, count - 15
    if joint < left:
        return _HEAD
    first, wrist, hand = (left, _LEFT_WRIST, 22) if joint < right else (right, _RIGHT_WRIST, 23)
    return hand if joint - first < (_FINGERS - 1) * _PHALANGES else wrist
