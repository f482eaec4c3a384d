"""The arrays of an SMPL-shaped body (Loper et al. 2015), regressors folded in once.

A joint regressor is linear and so are the shape directions: `J_template = R v_template` and
`J_shapedirs = R shapedirs` say the same with 29 rows instead of a product over all vertices per call.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_JOINTS, NUM_KEYPOINTS, NUM_LEAVES, PARENTS
from hmralign.structures import InputError

_SKELETON_FIELDS = ("parents", "J_template", "J_shapedirs")
"""What a checkpoint binds to; the leaves are the last five rows of the joint arrays."""


@dataclass(frozen=True, eq=False)
class BodyModel:
    """Rest geometry in metres, frame `canonical` (y up, facing +z, +x = the person's left), T-pose.

    The 29 joints are `skeleton.JOINT_NAMES`; the five leaves ride rigidly on their parents. `posedirs` is None for a
    body without pose correctives. `keypoint_moments[k, j]` is the sum over vertices of
    `regressor_kv * weight_vj * (v, 1)`, which poses a surface keypoint exactly without touching a vertex; the last row
    of its shape directions is zero. Bodies that come without keypoints or capsules have None there.
    """

    name: str
    parents: tuple[int, ...]
    v_template: Float[Tensor, "vert 3"]
    shapedirs: Float[Tensor, "vert 3 betas"]
    posedirs: Float[Tensor, "vert 3 pose_features"] | None
    weights: Float[Tensor, "vert 24"]
    faces: Int[Tensor, "face 3"]
    J_template: Float[Tensor, "29 3"]
    J_shapedirs: Float[Tensor, "29 3 betas"]
    keypoint_moments: Float[Tensor, "27 24 4"] | None = None
    keypoint_moment_dirs: Float[Tensor, "27 24 4 betas"] | None = None
    capsule_radii: Float[Tensor, " capsules"] | None = None
    capsule_radius_dirs: Float[Tensor, "capsules betas"] | None = None

    @property
    def num_betas(self) -> int:
        """Number of shape coefficients."""
        return self.shapedirs.shape[-1]

    @property
    def num_vertices(self) -> int:
        """Number of vertices."""
        return self.v_template.shape[0]

    @cached_property
    def skeleton_hash(self) -> str:
        """SHA-256 of parents, rest joints with their leaves, and the number of betas: checkpoints bind to it."""
        return _digest([(name, getattr(self, name)) for name in _SKELETON_FIELDS])

    @cached_property
    def mesh_hash(self) -> str:
        """SHA-256 of all arrays that are not the skeleton: vertex metrics bind to it."""
        names = [f.name for f in fields(self) if f.name not in (*_SKELETON_FIELDS, "name")]
        return _digest([(name, getattr(self, name)) for name in names])

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.v_template.device

    def to(self, target: torch.device | torch.dtype | str) -> BodyModel:
        """Move every tensor to a device, or convert every floating-point tensor to a dtype.

        Returns `self` when nothing changes; otherwise keep the result, as what is derived from a model is cached on it.
        """
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor) and (value.is_floating_point() or not isinstance(target, torch.dtype)):
                moved[field.name] = value.to(target)
        changed = any(tensor is not getattr(self, name) for name, tensor in moved.items())
        return replace(self, **moved) if changed else self

    @staticmethod
    def from_arrays(
        *,
        name: str,
        v_template: np.ndarray,
        shapedirs: np.ndarray,
        weights: np.ndarray,
        faces: np.ndarray,
        J_regressor: np.ndarray,
        leaf_vertex_ids: tuple[int, ...],
        posedirs: np.ndarray | None = None,
        keypoint_regressor: np.ndarray | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> BodyModel:
        """Fold SMPL-shaped arrays with 24 joints in SMPL's order.

        `J_regressor` is (24, V), `leaf_vertex_ids` the vertices of head top, left and right middle fingertip, left and
        right big-toe tip, `posedirs` (V, 3, 207), `keypoint_regressor` (27, V) with rows that sum to one.

        Raises:
            InputError: an array has the wrong shape or holds values that are not finite.
        """
        num_vertices = len(v_template)
        _check_shape("shapedirs", shapedirs, (num_vertices, 3, None))
        _check_shape("weights", weights, (num_vertices, NUM_JOINTS))
        _check_shape("J_regressor", J_regressor, (NUM_JOINTS, num_vertices))
        _check_shape("leaf_vertex_ids", np.asarray(leaf_vertex_ids), (NUM_LEAVES,))
        if posedirs is not None:
            _check_shape("posedirs", posedirs, (num_vertices, 3, 9 * (NUM_JOINTS - 1)))
        if keypoint_regressor is not None:
            _check_shape("keypoint_regressor", keypoint_regressor, (NUM_KEYPOINTS, num_vertices))

        vertices, dirs = np.asarray(v_template, np.float64), np.asarray(shapedirs, np.float64)
        regressor = np.zeros((NUM_ALL_JOINTS, num_vertices))
        regressor[:NUM_JOINTS] = J_regressor
        regressor[range(NUM_JOINTS, NUM_ALL_JOINTS), list(leaf_vertex_ids)] = 1.0
        moments = moment_dirs = None
        if keypoint_regressor is not None:
            moments, moment_dirs = fold_keypoints(keypoint_regressor, np.asarray(weights, np.float64), vertices, dirs)

        def finite(key: str, array: np.ndarray) -> Tensor:
            if not np.isfinite(array).all():
                raise InputError(f"Body {name!r}: array {key!r} holds values that are not finite.")
            return torch.as_tensor(np.asarray(array), dtype=dtype)

        return BodyModel(
            name=name,
            parents=PARENTS,
            v_template=finite("v_template", vertices),
            shapedirs=finite("shapedirs", dirs),
            posedirs=None if posedirs is None else finite("posedirs", posedirs),
            weights=finite("weights", weights),
            faces=torch.as_tensor(np.asarray(faces, np.int64)),
            J_template=finite("J_regressor", regressor @ vertices),
            J_shapedirs=finite("J_regressor", np.einsum("jv,vab->jab", regressor, dirs)),
            keypoint_moments=None if moments is None else finite("keypoint_regressor", moments),
            keypoint_moment_dirs=None if moment_dirs is None else finite("keypoint_regressor", moment_dirs),
        )


def fold_keypoints(
    regressor: np.ndarray, weights: np.ndarray, vertices: np.ndarray, shapedirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Moments (27, 24, 4) of regressed keypoints and their shape directions (27, 24, 4, betas).

    `regressor` is (27, V), `weights` (V, 24), `vertices` (V, 3), `shapedirs` (V, 3, betas).
    """
    homogeneous = np.concatenate([vertices, np.ones_like(vertices[:, :1])], axis=1)
    dirs = np.concatenate([shapedirs, np.zeros_like(shapedirs[:, :1])], axis=1)
    share = regressor[:, None, :] * weights.T[None]  # (K, J, V)
    flat = share.reshape(-1, share.shape[-1])
    moments = (flat @ homogeneous).reshape(*share.shape[:2], 4)
    moment_dirs = (flat @ dirs.reshape(len(dirs), -1)).reshape(*share.shape[:2], *dirs.shape[1:])
    return moments, moment_dirs


def _check_shape(name: str, array: np.ndarray, expected: tuple[int | None, ...]) -> None:
    if array.ndim != len(expected) or any(e not in (None, s) for e, s in zip(expected, array.shape, strict=True)):
        raise InputError(f"Body array {name!r} has shape {array.shape}, expected {expected} (None: any length).")


def _digest(items: list[tuple[str, object]]) -> str:
    """Hash of named values; float arrays enter as float32, so the digest does not depend on a later `.to`."""
    digest = hashlib.sha256()
    for name, value in items:
        if isinstance(value, Tensor):
            array = value.detach().cpu().numpy()
            array = array.astype("<f4" if value.is_floating_point() else "<i8")
            digest.update(f"{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        else:
            digest.update(f"{name} {value}".encode())
    return digest.hexdigest()
