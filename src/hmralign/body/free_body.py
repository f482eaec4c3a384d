"""The body that ships with the package: built from CC0 MakeHuman assets by `tools/build_free_body.py`.

It has SMPL's joint order, zero pose and rotation convention, and nothing else in common with SMPL: its shapes, vertices
and joint positions differ, so numbers measured on it are not comparable with published ones.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from hmralign.body.model import BodyModel
from hmralign.body.npz_file import npz_sizes, read_npz
from hmralign.body.skeleton import NUM_JOINTS, PARENTS
from hmralign.structures import InputError
from hmralign.structures.counted import counted

FORMAT_VERSION = 1

_ASSETS = Path(__file__).parent / "assets"
_REQUIRED = (
    "format_version", "name", "parents", "v_template", "shapedirs", "weights", "faces", "J_template", "J_shapedirs",
    "keypoint_moments", "keypoint_moment_dirs", "capsule_radii", "capsule_radius_dirs",
)  # fmt: skip
_TENSORS = tuple(k for k in _REQUIRED if k not in ("format_version", "name", "parents", "faces"))


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # what is cached must serve autograd too
def load_free_body(size: Literal["7k", "3k5"] = "7k") -> BodyModel:
    """The free body with about 6,900 (`"7k"`) or 3,500 (`"3k5"`) vertices, float32, on the CPU.

    Both sizes share one skeleton. The result is cached and shared: do not write into its tensors.
    """
    if size not in ("7k", "3k5"):
        raise InputError(f"Unknown size of the free body {size!r}: expected '7k' or '3k5'.")
    return read_body(_ASSETS / f"free_body_{size}.npz")


def shown_body(body: BodyModel) -> BodyModel:
    """The body to draw for people: the large mesh, a mannequin, in place of the free body's small one; others as is.

    Both have one skeleton, so parameters of the one pose the other.
    """
    small, large = load_free_body("3k5"), load_free_body("7k")
    return large.to(body.v_template.device) if body.mesh_hash == small.mesh_hash else body


def read_body(path: Path) -> BodyModel:
    """Read a body file written by the build script.

    Raises:
        InputError: the file is unreadable, too large, of another version, incomplete, or holds values that are not
            finite.
    """
    try:
        found = npz_sizes(path)
        arrays = read_npz(path, [key for key in _REQUIRED if key in found])
    except InputError as error:
        raise InputError(f"Cannot read the body file {error}.") from error
    version = arrays.get("format_version")
    if version is None or version.shape != () or version.dtype.kind not in "iu" or int(version) != FORMAT_VERSION:
        raise InputError(f"Body file {path} has format version {version}, expected {FORMAT_VERSION}.")
    missing = [key for key in _REQUIRED if key not in arrays]
    if missing:
        raise InputError(f"Body file {path} lacks the arrays {missing}.")
    _check(path, arrays)
    weights = arrays["weights"].astype(np.float32)
    arrays["weights"] = weights / weights.sum(axis=1, keepdims=True)
    return BodyModel(
        name=str(arrays["name"]),
        posedirs=None,
        parents=PARENTS,
        faces=torch.as_tensor(arrays["faces"].astype(np.int64)),
        **{key: torch.as_tensor(arrays[key], dtype=torch.float32) for key in _TENSORS},
    )


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Kinds, shapes, finiteness and index ranges."""
    for key in (*_TENSORS, "parents", "faces"):
        kinds = "iu" if key in ("parents", "faces") else "iuf"
        if arrays[key].ndim == 0 or arrays[key].dtype.kind not in kinds:
            raise InputError(f"Body file {path}: {key!r} is of type {arrays[key].dtype}, expected an array of numbers.")
    vertices, betas = len(arrays["v_template"]), arrays["shapedirs"].shape[-1]
    capsules = len(arrays["capsule_radii"])
    shapes = {
        "v_template": (vertices, 3), "shapedirs": (vertices, 3, betas), "weights": (vertices, NUM_JOINTS),
        "J_template": (29, 3), "J_shapedirs": (29, 3, betas), "keypoint_moments": (27, NUM_JOINTS, 4),
        "keypoint_moment_dirs": (27, NUM_JOINTS, 4, betas), "capsule_radii": (capsules,),
        "capsule_radius_dirs": (capsules, betas), "faces": (len(arrays["faces"]), 3),
    }  # fmt: skip
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise InputError(f"Body file {path}: array {key!r} has shape {arrays[key].shape}, expected {shape}.")
        if not np.isfinite(arrays[key]).all():
            raise InputError(f"Body file {path}: array {key!r} holds values that are not finite.")
    if len(arrays["faces"]) == 0 or arrays["faces"].min() < 0 or arrays["faces"].max() >= vertices:
        raise InputError(f"Body file {path}: 'faces' points outside its {counted(vertices, 'vertex')}, or is empty.")
    if tuple(arrays["parents"].tolist()) != PARENTS[:NUM_JOINTS]:
        raise InputError(f"Body file {path}: 'parents' is not the joint tree of `skeleton.PARENTS`.")
    if (arrays["weights"].astype(np.float32).sum(axis=1) < 0.9).any():
        raise InputError(f"Body file {path}: the skinning weights of some vertices do not sum to one.")
