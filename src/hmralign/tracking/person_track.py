"""What is known of one person over the consecutive frames of a track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class PersonTrack:
    """Frames `first` to `first + len - 1` of a clip, frame `cam`, metres.

    `spread` is the disagreement of each frame's hypotheses about the joints of the smoothed body, root mean square,
    pelvis-relative; a gap has that of its neighbours and more. `interpolated` frames were not seen, but filled in;
    in `exchanged` ones the detector's left and right were taken the other way round. `K` and `size` (width, height) are
    the frames' cameras, `keypoints` what was observed (x, y, confidence; zeros where interpolated).
    """

    first: int
    time: Float[np.ndarray, " frame"]
    rotmats: Float[np.ndarray, "frame 24 3 3"]
    betas: Float[np.ndarray, " betas"]
    transl: Float[np.ndarray, "frame 3"]
    joints: Float[np.ndarray, "frame 29 3"]
    spread: Float[np.ndarray, "frame 29"]
    interpolated: Bool[np.ndarray, " frame"]
    exchanged: Bool[np.ndarray, " frame"]
    keypoints: Float[np.ndarray, "frame 27 3"]
    box: Float[np.ndarray, "frame 4"]
    score: Float[np.ndarray, " frame"]
    K: Float[np.ndarray, "frame 3 3"]
    size: Int[np.ndarray, "frame 2"]

    def __len__(self) -> int:
        return len(self.time)

    @property
    def frames(self) -> Int[np.ndarray, " frame"]:
        """Numbers of the frames in the clip."""
        return np.arange(self.first, self.first + len(self))
