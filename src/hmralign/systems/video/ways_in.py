"""From what a user gives to a clip, its cameras, and who finds the people in its frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from hmralign.data.images import LoadedImage
from hmralign.data.video.clip import Clip, Frame, VideoBudget
from hmralign.data.video.frame_folder import FrameFolder
from hmralign.data.video.video_file import VideoFile
from hmralign.detection.detection import Detection
from hmralign.detection.find_people import people_from_array
from hmralign.detection.frame_keypoints import FrameKeypoints
from hmralign.detection.observe import MIN_KEYPOINTS, camera_of
from hmralign.structures import Camera, InputError
from hmralign.systems.recover.provenance import digest
from hmralign.systems.video.clip_answers import given_keypoints

Keypoints = str | Path | np.ndarray | Sequence[np.ndarray]
"""A file, a folder of OpenPose's files, or arrays (people, n, 3) by frame."""


def open_clip(clip: str | Path, fps: float | None, budget: VideoBudget | None) -> Clip:
    """A video file, or a folder of frames at `fps` (30 unless said).

    Raises InputError as they do, and for a rate that is given with a file, which has its own time.
    """
    if Path(clip).is_dir():
        return FrameFolder(clip, 30.0 if fps is None else fps, budget)
    if fps is not None:
        raise InputError(f"'{clip}' has a time of its own; expected frames per second with a folder of frames only")
    return VideoFile(clip, budget)


def clip_camera(K: np.ndarray | None, focal_px: float | None) -> Callable[[int, int], Camera]:
    """Cameras by width and height; see `camera_of`. Raises InputError for intrinsics that are none."""

    @lru_cache(maxsize=16)
    def camera(width: int, height: int) -> Camera:
        nothing = np.broadcast_to(np.uint8(0), (height, width, 3))
        return camera_of(LoadedImage(nothing, "frame", (width, height)), K, focal_px)

    camera(16, 16)
    return camera


class GivenPeople:
    """People of frames from keypoints that are given."""

    def __init__(self, keypoints: Keypoints, clip: Clip):
        is_file = isinstance(keypoints, str | Path)
        self._file = FrameKeypoints(keypoints, by_name=isinstance(clip, FrameFolder)) if is_file else None
        self._arrays = None if is_file else keypoints
        self._frames = 0

    def __call__(self, frame: Frame) -> list[Detection]:
        """The people of a frame. Errors name the file or the frame."""
        assert frame.rgb is not None
        size = frame.rgb.shape[0], frame.rgb.shape[1]
        if self._file is not None:
            return self._file.people(frame.number, frame.name, size)
        assert self._arrays is not None
        people = given_keypoints(self._arrays, frame.number)  # pyright: ignore[reportArgumentType]
        return [_array_person(person) for person in people]

    def tell(self, frame: Frame) -> None:
        """Say that the clip has a frame."""
        self._frames = max(self._frames, frame.number + 1)
        if self._file is not None:
            self._file.tell(frame.number, frame.name)

    def _beyond(self) -> int:
        return 0 if self._arrays is None else max(len(self._arrays) - self._frames, 0)

    def notes(self) -> list[str]:
        """What is given for frames that the clip does not have, and who was left out."""
        count = self._file.unused() if self._file is not None else self._beyond()
        said = [f"keypoints are given for {count} frames that the clip does not have"] if count else []
        wrong = 0 if self._file is None else self._file.frames_with_left_out
        return [*said, f"in {wrong} frames somebody or something given was left out"] if wrong else said


def _array_person(person: np.ndarray) -> Detection:
    """A person of an array; one with too few keypoints to be placed counts as seen, and is left out with the others."""
    if (person[:, 2] > 0).sum() < MIN_KEYPOINTS:
        return Detection.of_box(np.array([0.0, 0.0, 1.0, 1.0]), detector="array")
    return people_from_array(person)[0]


def keypoints_digest(keypoints: Keypoints | None) -> str:
    """Hash of keypoints that are given; a folder's is that of its files."""
    if keypoints is None or isinstance(keypoints, np.ndarray):
        return digest(keypoints)
    if not isinstance(keypoints, str | Path):
        return " ".join(digest(np.asarray(people, np.float64)) for people in keypoints)
    path = Path(keypoints)
    files = sorted(path.glob("*_keypoints.json")) if path.is_dir() else [path]
    return " ".join(f"{file.name}:{digest(file)}" for file in files)
