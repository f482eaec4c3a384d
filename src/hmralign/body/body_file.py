"""The user's bodies: SMPL (Loper et al. 2015), SMPL-H (Romero et al. 2017), SMPL-X (Pavlakos et al. 2019), any gender.

    file                                          joints  becomes
    SMPL 1.0 / 1.1, `.pkl` or `.npz`                  24  itself
    SMPL-H, `.pkl` or `.npz`                          52  24 joints (`hand_fold`)
    SMPL-X 1.0 / 1.1, `.pkl` or `.npz`                55  24 joints (`hand_fold`), without expressions
    a free body, `.npz` of `tools/build_free_body.py` 24  itself

Shape has the first 10 components. What the files lack is derived: leaves (`leaf_vertices`), keypoints
(`keypoint_transfer`), capsules (`capsules.fit_capsules`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.capsules import fit_capsules
from hmralign.body.free_body import load_free_body, read_body
from hmralign.body.hand_fold import TREES, fold_hands
from hmralign.body.keypoint_transfer import transfer_keypoints
from hmralign.body.leaf_vertices import find_leaf_vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import MAX_UNPACKED_BYTES, npz_sizes, read_npz
from hmralign.body.restricted_pickle import pickled_array, read_pickle
from hmralign.body.skeleton import JOINT_NAMES, NUM_BETAS
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MAX_VERTICES = 100_000

_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")


BodyFamily = Literal["smpl", "smplh", "smplx", "free"]
"""Whose shapes and joints a body has; betas of one family mean nothing in another."""

_FAMILIES: dict[int, BodyFamily] = {24: "smpl", 52: "smplh", 55: "smplx"}


def load_body(path: str | Path) -> BodyModel:
    """Read a body file; float32, on the CPU, named after the file. Pickles are read without running them.

    Raises:
        InputError: the file is missing, unreadable, too large, wants to run something, or is no body of this family.
    """
    return load_body_and_family(path)[0]


@torch.inference_mode(False)  # a body may be kept, and must then serve autograd too
def load_body_and_family(path: str | Path) -> tuple[BodyModel, BodyFamily]:
    """`load_body`, and which family the file is of. Raises InputError as there."""
    path = Path(path)
    if path.suffix.lower() == ".npz":
        arrays = _read_npz(path)
        if arrays is None:
            return read_body(path), "free"
    elif path.suffix.lower() == ".pkl":
        arrays = _read_pkl(path)
    else:
        raise InputError(f"Body file {path} ends in '{path.suffix}', expected .npz or .pkl.")
    try:
        family = _FAMILIES.get(arrays["weights"].shape[-1] if arrays["weights"].ndim else 0, "smpl")
        return _assembled(path.stem, arrays), family
    except InputError as error:
        raise InputError(f"Body file {path}: {error}") from error


def load_joint_regressor(path: Path) -> Float[Tensor, "24 vert"]:
    """What finds the 24 joints in a mesh, at rest or posed: the body file's own J_regressor. Raises as `load_body`."""
    arrays = _read_npz(path) if path.suffix.lower() == ".npz" else _read_pkl(path)
    if arrays is None:
        raise InputError(f"Body file {path} is a free body, which keeps no joint regressor.")
    _check(arrays)
    numbers = [np.asarray(arrays[key], np.float64) for key in ("weights", "J_regressor", "posedirs")]
    return torch.from_numpy(fold_hands(*numbers)[1]).float()


def _read_npz(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a released body; None for a file of our own format. Arrays not asked for are not touched."""
    try:
        found = npz_sizes(path)
        arrays = None if "format_version" in found else read_npz(path, [key for key in _KEYS if key in found])
    except InputError as error:
        raise InputError(f"Cannot read the body file {error}.") from error
    if arrays is not None:
        _require_keys(path, arrays)
    return arrays


def _read_pkl(path: Path) -> dict[str, np.ndarray]:
    content = read_pickle(path)
    _require_keys(path, content)
    arrays = {}
    for key in _KEYS:
        try:
            arrays[key] = pickled_array(content[key])
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(f"Body file {path}: array {key!r} cannot be read: {shown(str(error), 200)}.") from error
        if sum(array.nbytes for array in arrays.values()) > MAX_UNPACKED_BYTES:
            raise InputError(f"Body file {path}: its arrays have more than {MAX_UNPACKED_BYTES} bytes.")
    return arrays


def _require_keys(path: Path, found: dict[str, np.ndarray] | dict[str, object]) -> None:
    if missing := [key for key in _KEYS if key not in found]:
        raise InputError(f"Body file {path} lacks {missing}, expected the arrays of SMPL, SMPL-H or SMPL-X.")


def _assembled(name: str, arrays: dict[str, np.ndarray]) -> BodyModel:
    _check(arrays)
    arrays["shapedirs"] = arrays["shapedirs"][..., :NUM_BETAS]  # a file may have any number
    numbers = {key: np.asarray(arrays[key], np.float64) for key in _KEYS if key not in ("kintree_table", "f")}
    weights, regressor, posedirs = fold_hands(numbers["weights"], numbers["J_regressor"], numbers["posedirs"])
    model = BodyModel.from_arrays(
        name=name,
        v_template=numbers["v_template"],
        shapedirs=numbers["shapedirs"],
        weights=weights,
        faces=arrays["f"],
        J_regressor=regressor,
        leaf_vertex_ids=find_leaf_vertices(numbers["v_template"], weights),
        posedirs=posedirs if posedirs.any() else None,
    )
    _check_rest_pose(model)
    moments, moment_dirs = transfer_keypoints(load_free_body("3k5"), model.J_template, model.J_shapedirs)
    return _with_capsules(replace(model, keypoint_moments=moments, keypoint_moment_dirs=moment_dirs))


def _with_capsules(model: BodyModel) -> BodyModel:
    """The model with capsules fitted to its mesh; without, where a capsule finds no skin: whoever asks is told."""
    mesh = (model.v_template, model.shapedirs, model.weights, model.J_template, model.J_shapedirs)
    try:
        radii, dirs = fit_capsules(*(tensor.double().numpy() for tensor in mesh))
    except InputError:
        return model
    return replace(model, capsule_radii=torch.tensor(radii).float(), capsule_radius_dirs=torch.tensor(dirs).float())


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Shapes, kinds, finiteness, index ranges and the joint tree."""
    for key, array in arrays.items():
        if array.dtype.kind not in ("iu" if key in ("f", "kintree_table") else "iuf"):
            raise InputError(f"array {key!r} holds values of type {array.dtype}, expected numbers.")
    template, weights = arrays["v_template"], arrays["weights"]
    if template.ndim != 2 or template.shape[1] != 3 or not 100 <= len(template) <= MAX_VERTICES:
        raise InputError(
            f"array 'v_template' has shape {template.shape}, expected (V, 3) with 100 to 100,000 vertices."
        )
    vertices = len(template)
    if weights.ndim != 2 or weights.shape[1] not in TREES:
        raise InputError(
            f"array 'weights' has shape {weights.shape}, expected 24 (SMPL), 52 (SMPL-H) or 55 joints (SMPL-X)."
        )
    joints = weights.shape[1]
    shapedirs = arrays["shapedirs"]
    if shapedirs.ndim != 3 or shapedirs.shape[:2] != (vertices, 3) or shapedirs.shape[2] < NUM_BETAS:
        raise InputError(
            f"array 'shapedirs' has shape {shapedirs.shape}, expected ({vertices}, 3, {NUM_BETAS} or more)."
        )
    shapes = {
        "weights": (vertices, joints), "J_regressor": (joints, vertices), "posedirs": (vertices, 3, 9 * (joints - 1)),
        "kintree_table": (2, joints), "f": (len(arrays["f"]) if arrays["f"].ndim else 0, 3),
    }  # fmt: skip
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise InputError(f"array {key!r} has shape {arrays[key].shape}, expected {shape}.")
    for key in _KEYS:
        if not np.isfinite(arrays[key]).all():
            raise InputError(f"array {key!r} holds values that are not finite.")
    if len(arrays["f"]) == 0 or arrays["f"].min() < 0 or arrays["f"].max() >= vertices:
        raise InputError(f"'f' points outside the {counted(vertices, 'vertex')}, or is empty.")
    # The root's parent is written as -1 or as the largest unsigned number.
    if (
        tuple(arrays["kintree_table"][0, 1:].tolist()) != TREES[joints][1:]
        or 0 <= arrays["kintree_table"][0, 0] < joints
    ):
        raise InputError(
            f"'kintree_table' is not the joint tree of a body with {counted(joints, 'joint')} in SMPL's order."
        )
    if (weights < -1e-4).any() or np.abs(weights.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3:
        raise InputError("array 'weights' has rows that are no shares: expected them to be positive and to sum to one.")


def _check_rest_pose(model: BodyModel) -> None:
    """A T-pose in metres, y up, the person's left at +x: what the frames and the leaves rely on."""
    joint = dict(zip(JOINT_NAMES, model.J_template, strict=True))
    span = joint["left_middle_tip"] - joint["right_middle_tip"]
    rise = joint["head_top"] - (joint["left_ankle"] + joint["right_ankle"]) / 2
    if not (0.3 < float(rise[1]) < 3.0 and 0.3 < float(span[0]) < 3.0):
        raise InputError("its template is no T-pose in metres with y up and the person's left at +x.")
