"""Self-penetration of a body approximated by 20 capsules.

A capsule is a segment between two points that ride on the joints, with a radius that is linear in the betas; radii are
fitted to the mesh when a body is built. Two capsules overlap by `r_a + r_b - distance(segment_a, segment_b)`, which has
a closed form (Ericson 2005, Real-Time Collision Detection, sec. 5.1.9). Pairs that are neighbours on the skeleton
or touch in the T-pose say nothing about a pose and are left out, so armpits and the gap between the thighs are not
judged. Flesh gives way: the first centimetre of each overlap counts as contact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, PARENTS
from hmralign.structures import InputError

_EXCLUDED_BONES = 2
"""Capsules whose owners are at most this many bones apart are neighbours."""

_T_POSE_GAP = 0.005
"""Metres of air that a pair must have in the T-pose of the mean shape to be judged."""

_FLESH = 0.01
"""Metres of overlap that are contact, not penetration."""


@dataclass(frozen=True)
class Capsule:
    """Ends are `(joint, joint, fraction)`: that far from the first towards the second.

    `owner` is the joint it moves with; `skin` are the joints whose vertices it stands for.
    """

    name: str
    owner: str
    start: tuple[str, str, float]
    end: tuple[str, str, float]
    skin: tuple[str, ...]


def _limbs(side: str) -> tuple[Capsule, ...]:
    s = f"{side}_"
    return (
        Capsule(
            s + "upper_arm",
            s + "shoulder",
            (s + "shoulder", s + "elbow", 0.15),
            (s + "shoulder", s + "elbow", 1.0),
            (s + "shoulder",),
        ),
        Capsule(
            s + "forearm", s + "elbow", (s + "elbow", s + "wrist", 0.0), (s + "elbow", s + "wrist", 1.0), (s + "elbow",)
        ),
        Capsule(
            s + "hand",
            s + "wrist",
            (s + "wrist", s + "hand", 0.3),
            (s + "hand", s + "middle_tip", 0.7),
            (s + "wrist", s + "hand"),
        ),
        Capsule(s + "thigh", s + "hip", (s + "hip", s + "knee", 0.2), (s + "hip", s + "knee", 1.0), (s + "hip",)),
        Capsule(s + "shank", s + "knee", (s + "knee", s + "ankle", 0.0), (s + "knee", s + "ankle", 1.0), (s + "knee",)),
        Capsule(
            s + "foot",
            s + "ankle",
            (s + "ankle", s + "foot", 0.4),
            (s + "foot", s + "big_toe_tip", 0.5),
            (s + "ankle", s + "foot"),
        ),
        Capsule(
            s + "shoulder",
            s + "collar",
            (s + "collar", s + "shoulder", 0.5),
            (s + "collar", s + "shoulder", 1.0),
            (s + "collar",),
        ),
        Capsule(
            s + "flank",
            "spine1",
            ("pelvis", s + "hip", 0.6),
            ("spine2", s + "shoulder", 0.25),
            ("pelvis", "spine1", "spine2"),
        ),
    )


CAPSULES: tuple[Capsule, ...] = (
    Capsule("pelvis", "pelvis", ("left_hip", "right_hip", 0.2), ("left_hip", "right_hip", 0.8), ("pelvis",)),
    Capsule("chest", "spine3", ("spine3", "left_shoulder", 0.45), ("spine3", "right_shoulder", 0.45), ("spine3",)),
    Capsule("neck", "neck", ("neck", "head", 0.0), ("neck", "head", 1.0), ("neck",)),
    Capsule("head", "head", ("head", "head_top", 0.3), ("head", "head_top", 0.7), ("head",)),
    *_limbs("left"),
    *_limbs("right"),
)


_NAMES = [c.name for c in CAPSULES]
_OTHER_SIDE = {"left": "right", "right": "left"}
MIRROR_CAPSULES = tuple(
    _NAMES.index("_".join(_OTHER_SIDE.get(word, word) for word in name.split("_"))) for name in _NAMES
)
"""Capsule `i` of a mirrored body is capsule `MIRROR_CAPSULES[i]` of the original."""


def _end_matrix() -> Tensor:
    """(2, capsules, 29): ends as affine combinations of the joints."""
    matrix = torch.zeros(2, len(CAPSULES), len(JOINT_NAMES), dtype=torch.float64)
    for c, capsule in enumerate(CAPSULES):
        for end, (a, b, fraction) in enumerate((capsule.start, capsule.end)):
            matrix[end, c, JOINT_NAMES.index(a)] += 1.0 - fraction
            matrix[end, c, JOINT_NAMES.index(b)] += fraction
    return matrix


_ENDS = _end_matrix()


def capsule_segments(
    joints: Float[Tensor, "*batch 29 3"],
) -> tuple[Float[Tensor, "*batch capsules 3"], Float[Tensor, "*batch capsules 3"]]:
    """Start and end points of the capsules, in the frame and unit of `joints`."""
    ends = _ENDS.to(joints)
    return ends[0] @ joints, ends[1] @ joints


def capsule_radii(model: BodyModel, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch capsules"]:
    """Radii in metres for each shape, at least 1 cm.

    Raises:
        InputError: the body has no capsules.
    """
    if model.capsule_radii is None or model.capsule_radius_dirs is None:
        raise InputError(f"Body {model.name!r} has no capsule radii; fit them with `capsules.fit_capsules`.")
    return (model.capsule_radii + betas @ model.capsule_radius_dirs.mT).clamp(min=0.01)


def segment_distance(
    p0: Float[Tensor, "*#batch 3"],
    p1: Float[Tensor, "*#batch 3"],
    q0: Float[Tensor, "*#batch 3"],
    q1: Float[Tensor, "*#batch 3"],
) -> Float[Tensor, "*#batch"]:
    """Smallest distance between the segments p0-p1 and q0-q1; a segment may be a point.

    Ericson's clamped solution: solve for the two infinite lines, clamp one parameter, solve for the other, clamp it,
    and solve for the first again. Parallel lines have many solutions, of which the one at p0 is taken first.
    """
    u, v, w = p1 - p0, q1 - q0, p0 - q0
    a, b, c = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    d, e = (u * w).sum(-1), (v * w).sum(-1)
    tiny = 1e-12
    determinant = a * c - b * b
    s = ((b * e - c * d) / determinant.clamp(min=tiny)).clamp(0, 1) * (determinant > tiny)
    t = ((b * s + e) / c.clamp(min=tiny)).clamp(0, 1)
    s = ((b * t - d) / a.clamp(min=tiny)).clamp(0, 1)
    gap = w + s[..., None] * u - t[..., None] * v
    return ((gap * gap).sum(-1) + 1e-12).sqrt()  # the epsilon keeps the gradient finite for crossing axes


def _bones_apart(a: str, b: str) -> int:
    def path(name: str) -> list[int]:
        joints = [JOINT_NAMES.index(name)]
        while PARENTS[joints[-1]] >= 0:
            joints.append(PARENTS[joints[-1]])
        return joints

    first, second = path(a), path(b)
    return next(i + second.index(j) for i, j in enumerate(first) if j in second)


@lru_cache(maxsize=16)
def judged_pairs(model: BodyModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pairs of capsules whose overlap means something, as two index tuples."""
    pairs = [
        (i, j)
        for i in range(len(CAPSULES))
        for j in range(i + 1, len(CAPSULES))
        if _bones_apart(CAPSULES[i].owner, CAPSULES[j].owner) > _EXCLUDED_BONES
    ]
    first, second = (list(x) for x in zip(*pairs, strict=True))
    start, end = capsule_segments(model.J_template)
    radii = capsule_radii(model, torch.zeros(model.num_betas).to(model.J_template))
    distance = segment_distance(start[first], end[first], start[second], end[second])
    apart = (distance > radii[first] + radii[second] + _T_POSE_GAP).tolist()
    kept = [pair for pair, keep in zip(pairs, apart, strict=True) if keep]
    return tuple(i for i, _ in kept), tuple(j for _, j in kept)


def self_penetration(
    model: BodyModel, joints: Float[Tensor, "*#batch 29 3"], betas: Float[Tensor, "*#batch betas"]
) -> Float[Tensor, "*#batch"]:
    """Summed overlap of all judged capsule pairs beyond contact, metres; 0 when nothing overlaps. Any frame."""
    first, second = (list(x) for x in judged_pairs(model))
    start, end = capsule_segments(joints)
    radii = capsule_radii(model, betas)
    distance = segment_distance(start[..., first, :], end[..., first, :], start[..., second, :], end[..., second, :])
    return (radii[..., first] + radii[..., second] - _FLESH - distance).clamp(min=0).sum(-1)


def fit_capsules(
    vertices: np.ndarray, shapedirs: np.ndarray, weights: np.ndarray, joints: np.ndarray, joint_dirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Radii (capsules,) and their change per beta (capsules, betas), metres, from the T-posed mesh.

    `vertices` (V, 3), `shapedirs` (V, 3, betas), `weights` (V, 24), `joints` (29, 3), `joint_dirs` (29, 3, betas). A
    radius is the median distance to the segment of the vertices that the capsule stands for; of several capsules
    that share joints each vertex belongs to the nearest. Directions are central differences at one unit. Left and
    right are averaged.
    """
    owners = _assign(vertices, weights, joints)

    def radii(beta: np.ndarray) -> np.ndarray:
        distance = _distances(vertices + shapedirs @ beta, joints + joint_dirs @ beta)
        one_sided = np.array([np.median(distance[mask, c]) for c, mask in enumerate(owners)])
        return 0.5 * (one_sided + one_sided[list(MIRROR_CAPSULES)])

    units = np.eye(shapedirs.shape[-1])
    dirs = np.stack([(radii(unit) - radii(-unit)) / 2 for unit in units], axis=1)
    return radii(np.zeros(len(units))), dirs


def _distances(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(V, capsules) distances of vertices to the segments."""
    start, end = capsule_segments(torch.as_tensor(joints))
    points = torch.as_tensor(vertices)[:, None]
    return segment_distance(points, points, start[None], end[None]).numpy()


def _assign(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray) -> list[np.ndarray]:
    """Boolean mask of the vertices of each capsule; only those beside the segment, not beyond its ends."""
    distance = _distances(vertices, joints)
    start, end = (x.numpy() for x in capsule_segments(torch.as_tensor(joints)))
    along = end - start
    fraction = ((vertices[:, None] - start) * along).sum(-1) / (along * along).sum(-1)
    beside = (fraction > 0.0) & (fraction < 1.0)
    main = weights.argmax(axis=1)
    skin = np.stack([np.isin(main, [JOINT_NAMES.index(j) for j in c.skin]) for c in CAPSULES], axis=1)
    nearest = np.where(skin & beside, distance, np.inf)
    best = nearest.argmin(axis=1)
    owned = [(best == c) & np.isfinite(nearest[:, c]) for c in range(len(CAPSULES))]
    empty = [c.name for c, mask in zip(CAPSULES, owned, strict=True) if mask.sum() < 5]
    if empty:
        raise InputError(f"No skin was found around the capsules {empty}; are the joints in SMPL's order?")
    return owned
