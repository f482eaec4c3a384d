"""A pose prior shipped as statistics: a Gaussian mixture over joint rotations and the direction of "up".

A feature vector holds the axis-angles of the 19 joints that move in the motion capture (collars and hands do not) and
the world's up direction seen from the pelvis, so that a bent or hanging body comes with its tilt. Fitted by
`tools/fit_pose_prior.py`; no clip can be read back from the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.npz_file import read_npz
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import InputError

_STILL = ("left_collar", "right_collar", "left_hand", "right_hand")
MOVING_JOINTS = tuple(j for j in range(1, NUM_JOINTS) if JOINT_NAMES[j] not in _STILL)
"""Joints the prior describes."""

PriorName = Literal["train", "heldout"]


def to_features(
    rotvecs: Float[np.ndarray, "n 24 3"], up_in_pelvis: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n features"]:
    """Feature vectors of poses; `rotvecs` in radians, `up_in_pelvis` unit."""
    return np.concatenate([rotvecs[:, MOVING_JOINTS].reshape(len(rotvecs), -1), up_in_pelvis], axis=1)


@dataclass(frozen=True)
class PosePrior:
    """Gaussian mixture with full covariances, kept as Cholesky factors."""

    weights: Float[Tensor, " components"]
    means: Float[Tensor, "components features"]
    cholesky: Float[Tensor, "components features features"]

    def sample(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, "n 23 3 3"], Float[Tensor, "n 3"]]:
        """Draw `n` poses: parent-relative rotations of the 23 joints, and the unit up direction in the pelvis frame."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        # Sorting makes one matrix product per component instead of one per sample.
        component, _ = component.sort()
        noise = torch.randn(n, self.means.shape[1], generator=generator)
        counts = torch.bincount(component, minlength=len(self.weights)).tolist()
        drawn = torch.cat([part @ self.cholesky[k].T for k, part in enumerate(noise.split(counts)) if len(part)])
        features = (drawn + self.means[component])[torch.randperm(n, generator=generator)]
        rotvecs = torch.zeros(n, NUM_JOINTS, 3)
        rotvecs[:, list(MOVING_JOINTS)] = features[:, :-3].unflatten(1, (-1, 3))
        up = features[:, -3:]
        return rotvec_to_rotmat(rotvecs[:, 1:]), up / up.norm(dim=1, keepdim=True)


@lru_cache
def load_pose_prior(name: PriorName = "train") -> PosePrior:
    """The shipped prior: `train` was fitted on training clips, `heldout` on clips that training never saw.

    Raises InputError where its file is missing or damaged.
    """
    return read_pose_prior(Path(str(files("hmralign.data.synthetic"))) / "assets" / f"pose_prior_{name}.npz")


def read_pose_prior(path: Path) -> PosePrior:
    """A prior as `tools/fit_pose_prior.py` writes it. Raises InputError for a damaged file or another format."""
    data = read_npz(path, ("format_version", "weights", "means", "cholesky_tril"))
    if int(data["format_version"]) != 1:
        raise InputError(f"{path}: pose prior format {int(data['format_version'])} is not 1")
    tril = data["cholesky_tril"].astype(np.float32)
    means = data["means"].astype(np.float32)
    weights = data["weights"].astype(np.float64)
    dim = means.shape[1]
    cholesky = np.zeros((len(means), dim, dim), np.float32)
    rows, columns = np.tril_indices(dim)
    cholesky[:, rows, columns] = tril
    return PosePrior(
        torch.from_numpy(weights / weights.sum()).float(), torch.from_numpy(means), torch.from_numpy(cholesky)
    )
