"""Samples for images as the papers' public codes keep them, pairs and groups, and our own file of them.

Such records have no bodies and no camera, so a store of preference groups cannot hold them. They are samples of
HypoNet over a crop: joints as u, v in pixels of the 256 x 256 crop and depth from the pelvis in millimetres, twists as
cosine and sine of any length, and the affine by which the crop was cut. A `PublishedPool` keeps them so; `samples`
gives what the alignment of a HypoNet policy trains on. The published files: `preferences.published_pool_files`.

Our own file (npz, no pickles) has the fields of `PublishedPool` as arrays; those of `measures` begin with `measure_`,
those of `others` with `other_`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.npz_file import read_npz, write_npz
from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS
from hmralign.geometry.cameras import apply_affine
from hmralign.models.paper.uvd import pack_uvd
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

FORMAT_VERSION = 1

CROP_SIDE = 256
"""Pixels of the crop that u and v are counted in."""

MEASURES = ("pve", "mpjpe", "pampjpe", "score", "score_raw")
"""What is said of each member: errors against the truth in millimetres, lower is better; scores, higher is better."""

JOINTS, TWIST, AFFINE = (NUM_ALL_JOINTS, 3), (NUM_TWISTS, 2), (2, 3)
"""Shapes of one sample's joints and twists, and of a crop's affine."""

_MEASURE, _OTHER = "measure_", "other_"


@dataclass(frozen=True)
class PublishedPool:
    """Samples for images. Members of a pair are the better one (index 0) and the worse one."""

    kind: Literal["pairs", "groups"]
    image_paths: tuple[str, ...]
    """As in the published file, one for each record."""
    image_index: Int[Tensor, " record"]
    A_crop_image: Float[Tensor, "record 2 3"]
    """Image pixels to pixels of the crop (`trans`)."""
    A_image_crop: Float[Tensor, "record 2 3"]
    """The way back (`trans_inv`)."""
    joints: Float[Tensor, "record member 29 3"]
    """u, v in pixels of the crop, depth from the pelvis in millimetres."""
    twist: Float[Tensor, "record member 23 2"]
    """Cosine and sine as they were sampled, not of unit length."""
    measures: Mapping[str, Float[Tensor, "record member"]] = field(default_factory=dict)
    """Some of `MEASURES`."""
    truth_joints: Float[Tensor, "record 29 3"] | None = None
    """In the units of `joints`."""
    truth_twist: Float[Tensor, "record 23 2"] | None = None
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Numbers under other keys, one array for all records."""

    def __len__(self) -> int:
        return len(self.image_paths)

    @property
    def members(self) -> int:
        """Samples of a record."""
        return self.joints.shape[1]

    def samples(self, A_crop_image: Float[Tensor, "record 2 3"] | None = None) -> Float[Tensor, "record member 133"]:
        """x_0 of a HypoNet policy (`models.paper.uvd`), over the crops they were made on, or over other ones."""
        uv, crops = self.joints[..., :2], A_crop_image
        if crops is not None:
            uv = apply_affine(crops[:, None], apply_affine(self.A_image_crop[:, None], uv))
        return pack_uvd(uv, self.joints[..., 2] / 1000, self.twist, CROP_SIDE)


def write_pool(path: Path, pool: PublishedPool) -> Path:
    """Write a file of our own, whole or not at all. Raises InputError for a name that does not end in .npz."""
    if path.suffix != ".npz":
        raise InputError(f"'{path}' is no name for a pool, expected one that ends in .npz")
    arrays = {
        "format_version": np.array(FORMAT_VERSION),
        "kind": np.array(f"published {pool.kind}"),
        "image_paths": np.array(pool.image_paths),
        "image_index": pool.image_index.numpy(),
        "A_crop_image": pool.A_crop_image.numpy(),
        "A_image_crop": pool.A_image_crop.numpy(),
        "joints": pool.joints.numpy(),
        "twist": pool.twist.numpy(),
    }
    arrays |= {_MEASURE + name: values.numpy() for name, values in pool.measures.items()}
    arrays |= {_OTHER + name: values for name, values in pool.others.items()}
    if pool.truth_joints is not None and pool.truth_twist is not None:
        arrays |= {"truth_joints": pool.truth_joints.numpy(), "truth_twist": pool.truth_twist.numpy()}
    return write_npz(path, arrays)


def read_pool(path: Path) -> PublishedPool:
    """Read a file of our own. Raises InputError, naming it, as `read_npz`, and for one that is none or does not fit."""
    arrays = read_npz(path)
    names = set(arrays)
    version, kind = arrays.get("format_version"), str(arrays.get("kind", ""))
    if version is None or kind not in ("published pairs", "published groups"):
        raise InputError(f"{path}: is no pool of pairs or groups: it has neither 'grpo_pair_list' nor our arrays")
    if version.shape != () or int(version) != FORMAT_VERSION:
        raise InputError(f"{path}: format version {shown(version.tolist())}, this program reads {FORMAT_VERSION}")
    paths = arrays.get("image_paths", np.zeros(0, "U1"))
    if paths.ndim != 1 or paths.dtype.kind != "U" or len(paths) == 0:
        raise InputError(f"{path}: 'image_paths' names no images")
    joints = arrays.get("joints", np.zeros((0, 0)))
    lead = (len(paths), joints.shape[1] if joints.ndim > 1 else 0)
    measures = {n.removeprefix(_MEASURE): _numbers(path, arrays, n, lead) for n in names if n.startswith(_MEASURE)}
    truth = {n: (lead[0], *shape) for n, shape in (("truth_joints", JOINTS), ("truth_twist", TWIST)) if n in names}
    index = arrays.get("image_index")
    if index is None or index.dtype.kind not in "iu" or index.shape != lead[:1]:
        raise InputError(f"{path}: 'image_index' does not fit its {counted(len(paths), 'record')}")
    return PublishedPool(
        "pairs" if kind.endswith("pairs") else "groups",
        tuple(paths.tolist()),
        torch.from_numpy(index.astype(np.int64)),
        A_crop_image=_numbers(path, arrays, "A_crop_image", (lead[0], *AFFINE)),
        A_image_crop=_numbers(path, arrays, "A_image_crop", (lead[0], *AFFINE)),
        joints=_numbers(path, arrays, "joints", (*lead, *JOINTS)),
        twist=_numbers(path, arrays, "twist", (*lead, *TWIST)),
        measures=measures,
        **{name: _numbers(path, arrays, name, shape) for name, shape in truth.items()},  # type: ignore[arg-type]
        others=_others(path, arrays, len(paths)),
    )


def _numbers(path: Path, arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> Tensor:
    array = arrays.get(name)
    if array is None or array.dtype.kind not in "iuf" or array.shape != shape or not np.isfinite(array).all():
        found = "is missing" if array is None else f"is {array.dtype} of shape {array.shape}"
        raise InputError(f"{path}: '{shown(name)}' {found}, expected finite numbers of shape {shape}")
    return torch.from_numpy(array.astype(np.float32))


def _others(path: Path, arrays: Mapping[str, np.ndarray], records: int) -> dict[str, np.ndarray]:
    found = {name.removeprefix(_OTHER): array for name, array in arrays.items() if name.startswith(_OTHER)}
    if wrong := [name for name, array in found.items() if array.dtype.kind not in "iufb" or len(array) != records]:
        raise InputError(f"{path}: '{_OTHER}{shown(wrong[0])}' does not fit its {counted(records, 'record')}")
    return found
