"""What a user holds in hand after a clip: its tracks, a body for each of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.structures import BodyParams, InputError
from hmralign.structures.counted import counted
from hmralign.systems.recover.provenance import Provenance
from hmralign.systems.video.outputs import write_clip
from hmralign.systems.video.people import RecoveredClip, body_params
from hmralign.tracking.person_track import PersonTrack


class Track:
    """One person over consecutive frames of a clip; `track[i]` is the body of its i-th frame. Frame `cam`, metres."""

    def __init__(self, track: PersonTrack, number: int, body: BodyModel):
        self.number, self.body = number, body
        self._track = track

    def __len__(self) -> int:
        return len(self._track)

    def __getitem__(self, index: int | slice) -> BodyParams:
        """The smoothed body of a frame of the track, or of several. Raises IndexError for a frame it does not have."""
        if isinstance(index, slice):
            return body_params(self._track, index)
        at = range(len(self))[index]
        return body_params(self._track, slice(at, at + 1))[0]

    @property
    def frames(self) -> Int[np.ndarray, " frame"]:
        """Numbers of its frames in the clip."""
        return self._track.frames

    @property
    def times(self) -> Float[np.ndarray, " frame"]:
        """Seconds from the first frame of the clip."""
        return self._track.time

    @property
    def params(self) -> BodyParams:
        """The smoothed bodies of all frames, axis (frame,); their betas are the same."""
        return body_params(self._track)

    @property
    def joints(self) -> Float[np.ndarray, "frame 29 3"]:
        """The 29 joints (`body.skeleton.JOINT_NAMES`)."""
        return self._track.joints

    @property
    def spread(self) -> Float[np.ndarray, "frame 29"]:
        """Disagreement of each frame's hypotheses about the smoothed joints, pelvis-relative metres."""
        return self._track.spread

    @property
    def interpolated(self) -> Bool[np.ndarray, " frame"]:
        """Whether the person was not seen in a frame, and filled in."""
        return self._track.interpolated

    @property
    def exchanged(self) -> Bool[np.ndarray, " frame"]:
        """Whether left and right are the other way round than the detector said."""
        return self._track.exchanged

    @property
    def keypoints(self) -> Float[np.ndarray, "frame 27 3"]:
        """x, y, confidence as they were used; zeros in interpolated frames."""
        return self._track.keypoints

    @property
    def K(self) -> Float[np.ndarray, "frame 3 3"]:
        """Intrinsics of the frames."""
        return self._track.K

    def vertices(self, index: int) -> Float[Tensor, "vert 3"]:
        """Mesh of one frame; `faces` are `track.body.faces`."""
        return vertices(self.body, self[index])

    def __repr__(self) -> str:
        return (
            f"Track({self.number}: frames {self.frames[0]} to {self.frames[-1]}, {int(self.interpolated.sum())} filled "
            f"in, {int(self.exchanged.sum())} with sides exchanged, mean spread {100 * self.spread.mean():.1f} cm)"
        )


class Video(Sequence[Track]):
    """The people of one clip, a sequence of `Track` in the order of first sight."""

    def __init__(self, found: RecoveredClip, body: BodyModel, provenance: Provenance, fingerprint: str):
        self._found, self._body, self._provenance, self._fingerprint = found, body, provenance, fingerprint
        self._tracks = [Track(track, number, body) for number, track in enumerate(found.tracks)]

    @property
    def times(self) -> Float[np.ndarray, " frame"]:
        """Seconds of all frames of the clip, from the first one on."""
        return self._found.frames.time

    @property
    def fps(self) -> float:
        """Usual frames per second."""
        return self._found.fps

    @property
    def varying_rate(self) -> bool:
        """Whether the distances of frames differ."""
        return self._found.varying

    @property
    def cuts(self) -> list[int]:
        """Numbers of the frames that begin another scene; every track ends before them."""
        return np.flatnonzero(self._found.frames.cut).tolist()

    @property
    def notes(self) -> list[str]:
        """What was met, left out or filled in, in sentences."""
        return list(self._found.notes)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall-clock time per stage."""
        return dict(self._found.seconds)

    def save(self, folder: str | Path, *, pictures: bool = True, overwrite: bool = False) -> Path:
        """Write everything into a new folder, whole or not at all, and return it (`docs/video.md`).

        The clip is read once more for the film and the page; without `pictures` neither is made. An earlier result is
        replaced only with `overwrite`. Raises InputError when the folder cannot be written.
        """
        return write_clip(
            Path(folder),
            self._found,
            self._body,
            self._provenance,
            self._fingerprint,
            pictures=pictures,
            overwrite=overwrite,
        )

    def __len__(self) -> int:
        return len(self._tracks)

    @overload
    def __getitem__(self, index: int) -> Track: ...
    @overload
    def __getitem__(self, index: slice) -> list[Track]: ...
    def __getitem__(self, index: int | slice) -> Track | list[Track]:
        """One track, or several."""
        return self._tracks[index]

    def __repr__(self) -> str:
        name = Path(self._found.clip.name).name
        return f"Video({name!r}: {counted(len(self.times), 'frame')}, {counted(len(self), 'track')})"


def given_keypoints(keypoints: Sequence[np.ndarray] | np.ndarray, number: int) -> np.ndarray:
    """The people of a frame, (people, n, 3), in keypoints that are given by frame; those never observed are left out.

    Raises InputError for an array of another shape; a frame beyond the end has nobody.
    """
    if number >= len(keypoints):
        return np.zeros((0, 17, 3))
    people = np.asarray(keypoints[number], np.float64)
    if people.size == 0:
        return np.zeros((0, 17, 3))
    if people.ndim != 3 or people.shape[2] != 3:
        raise InputError(
            f"keypoints of frame {number} have shape {people.shape}; expected (people, n, 3) for each frame"
        )
    return people[(people[:, :, 2] > 0).any(1)]
