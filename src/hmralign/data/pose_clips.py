"""How people move: short stretches of the clips of a pose file.

Format as `data.pose_file`, with two arrays more: `clip` (n,), which clip a pose is of, and `frame` (n,), its number
there. Frames may be missing, as of files from which near-duplicates were taken: between two frames that are near one
another the motion is filled in at constant angular velocity, and stretches with longer gaps are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.npz_file import read_npz
from hmralign.data.pose_file import SPLIT_CODE, Split, load_pose_file
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import InputError


@dataclass(frozen=True)
class PoseClips:
    """Poses of one split in the order of their clips and frames; joint 0 is the orientation in a y-up world."""

    rotmats: Float[Tensor, "n 24 3 3"]
    clip: Int[Tensor, " n"]
    frame: Int[Tensor, " n"]

    def stretches(self, offsets: tuple[int, ...], longest_gap: int = 4) -> Stretches:
        """All stretches that reach from a pose to the frames at these distances from it.

        Frames that are missing are filled in across gaps of at most `longest_gap` frames. Raises InputError where no
        clip is long enough.
        """
        key = self.clip * (int(self.frame.max()) + 1 + 2 * max(map(abs, offsets))) + self.frame  # ascending
        good = torch.ones(len(key), dtype=torch.bool)
        before, share = [], []
        for offset in offsets:
            at = (torch.searchsorted(key, key + offset, right=True) - 1).clamp(min=0)
            after = torch.where(key[at] == key + offset, at, (at + 1).clamp(max=len(key) - 1))
            gap = key[after] - key[at]
            # Clips are further apart in `key` than any gap that is filled in.
            good &= (self.clip[at] == self.clip) & (self.clip[after] == self.clip)
            good &= (key[at] <= key + offset) & (key[after] >= key + offset) & (gap <= longest_gap)
            before.append(torch.stack([at, after], -1))
            share.append((key + offset - key[at]) / gap.clamp(min=1))
        if not good.any():
            raise InputError(f"no clip has poses at the frames {offsets} from a pose; expected longer clips")
        middle = good.nonzero()[:, 0]
        return Stretches(self, middle, torch.stack(before, 1)[middle], torch.stack(share, 1)[middle].float())


@dataclass(frozen=True)
class Stretches:
    """Short motions: a pose, and for each frame the poses before and after it and how far it is between them."""

    clips: PoseClips
    middle: Int[Tensor, " stretch"]
    around: Int[Tensor, "stretch frame 2"]
    share: Float[Tensor, "stretch frame"]

    def __len__(self) -> int:
        return len(self.middle)

    def turns(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n frame 24 3 3"]:
        """Turn of every joint, parent-relative, from the middle pose to each frame: `pose = middle @ turn`."""
        there, later = (self.clips.rotmats[self.around[index, :, k]] for k in (0, 1))
        onwards = self.share[index, :, None, None] * rotmat_to_rotvec(there.mT @ later)
        return self.clips.rotmats[self.middle[index], None].mT @ there @ rotvec_to_rotmat(onwards)


def load_pose_clips(path: str | Path, split: Split) -> PoseClips:
    """The clips of one split. Raises InputError as `load_pose_file`, and for a file that does not tell its clips."""
    poses = load_pose_file(path, split)
    try:
        arrays = read_npz(Path(path), ("split", "clip", "frame"))
    except InputError as error:
        raise InputError(f"a pose file without clips: {error}") from error
    if wrong := [n for n, a in arrays.items() if a.shape != arrays["split"].shape or a.dtype.kind not in "iu"]:
        raise InputError(f"{path}: '{wrong[0]}' is no array of whole numbers, one for each pose")
    own = arrays["split"] == SPLIT_CODE[split]
    clip, frame = (arrays[name][own].astype(np.int64) for name in ("clip", "frame"))
    order = np.lexsort((frame, clip))
    if (np.diff(clip[order]) == 0)[np.diff(frame[order]) == 0].any():
        raise InputError(f"{path}: a clip has two poses of the same frame; expected one")
    rotmats = rotvec_to_rotmat(poses.rotvecs[torch.from_numpy(order)])
    return PoseClips(rotmats, torch.from_numpy(clip[order]), torch.from_numpy(frame[order]))
