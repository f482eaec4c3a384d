"""Poses as a camera sees them, without anything else of a person: what a pose space is trained and measured on."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.data.pose_file import Split, load_pose_file
from hmralign.data.synthetic.pose_prior import PriorName, load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.data.synthetic.views import ViewMix, sample_views

_AT_ONCE = 10000


def pose_source(mix: PoseMix, pose_file: str | None, split: Split) -> PoseSource:
    """Poses of a split: of the file where there is one, of the prior that was fitted on the same clips, of postures.

    Raises InputError as the pose file does.
    """
    prior: PriorName = "train" if split == "train" else "heldout"
    return PoseSource(load_pose_prior(prior), mix, None if pose_file is None else load_pose_file(pose_file, split))


def pose_sources(pose_file: str | None) -> tuple[str, ...]:
    """What is trained on, as checkpoints say it: the prior, and the file by its hash where there is one."""
    if not pose_file:
        return ("prior:train",)
    return ("prior:train", f"pose_file:{load_pose_file(pose_file, 'train').sha256}:train")


def drawn_poses(
    source: PoseSource, views: ViewMix, count: int, generator: torch.Generator
) -> Float[Tensor, "n 24 3 3"]:
    """`count` poses in the `cam` axes (y down) of cameras at random: root first, parent-relative."""
    parts = []
    for start in range(0, count, _AT_ONCE):
        body_pose, up = source.sample(min(_AT_ONCE, count - start), generator)
        parts.append(torch.cat([sample_views(up, views, generator).global_orient[:, None], body_pose], 1))
    return torch.cat(parts)
