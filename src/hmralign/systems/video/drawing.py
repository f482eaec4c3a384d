"""The second pass over a clip: people drawn over every frame, and the pictures that the report shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.data.video.clip import Frame
from hmralign.data.video.video_writer import video_writer
from hmralign.geometry.cameras import scaled_intrinsics
from hmralign.overlays.overlay import PAPER, PERSON_COLORS, Window, cut_photo, person_window
from hmralign.overlays.people_over import people_over
from hmralign.systems.video.people import RecoveredClip, body_params
from hmralign.tracking.person_track import PersonTrack

FILM_SIDE = 960
"""Longer side of the film, pixels, at most."""
MOMENTS = 48
"""Moments of a track in the report, at most; of many tracks fewer each, `ALL_MOMENTS` together."""
ALL_MOMENTS = 240
STRIP = 6
"""Frames of the film in the report."""
_MOMENT_SIDE = 480
_FILLED = (0.75, 0.75, 0.78)
"""Colour of a body that was filled in."""


@dataclass
class ClipPictures:
    """Pictures by track and number of the moment, their windows, and frames of the film with words."""

    windows: list[Window]
    moments: list[np.ndarray]
    """Numbers of each track's frames, counted from its first."""
    pictures: list[dict[int, np.ndarray]] = field(default_factory=list)
    strip: list[tuple[str, np.ndarray]] = field(default_factory=list)


def plan_pictures(found: RecoveredClip) -> ClipPictures:
    """Which moments of which tracks are shown, and what part of the frame."""
    each = max(2, min(MOMENTS, ALL_MOMENTS // max(len(found.tracks), 1)))
    moments = [np.unique(np.linspace(0, len(t) - 1, min(each, len(t))).round().astype(int)) for t in found.tracks]
    windows = [track_window(track) for track in found.tracks]
    return ClipPictures(windows, moments, [{} for _ in found.tracks])


def track_window(track: PersonTrack) -> Window:
    """A square that shows the person in all frames of the track."""
    low, high = track.box[:, :2].min(0), track.box[:, 2:].max(0)
    return person_window(torch.from_numpy(np.concatenate([low, high])).float(), margin=0.2)


def draw_clip(
    found: RecoveredClip, body: BodyModel, film: Path, on_frame: Callable[[int], None] = lambda _: None
) -> ClipPictures:
    """Write the film, reading the clip once more, and return the pictures of the report. Frames are never all kept."""
    planned = plan_pictures(found)
    size = film_size(found)
    shown = set(np.linspace(0, len(found.frames) - 1, min(STRIP, len(found.frames))).round().astype(int).tolist())
    with video_writer(film, size, found.fps) as writer:
        for frame in found.clip.frames():
            if frame.number >= len(found.frames):
                break
            _keep_moments(frame, found, planned)
            drawn = _drawn(frame, found, body, size)
            writer.write(frame.time, drawn)
            if frame.number in shown:
                planned.strip.append((f"{frame.time:.2f} s", drawn))
            on_frame(frame.number)
    return planned


def film_size(found: RecoveredClip) -> tuple[int, int]:
    """Width and height of the film: those of the first frame, reduced, and even."""
    sizes = found.frames.size
    width, height = sizes[int((sizes.min(1) > 1).argmax())]
    scale = min(1.0, FILM_SIDE / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _keep_moments(frame: Frame, found: RecoveredClip, planned: ClipPictures) -> None:
    for number, track in enumerate(found.tracks):
        if frame.rgb is not None and frame.number - track.first in planned.moments[number]:
            picture, _ = cut_photo(frame.rgb, planned.windows[number], (_MOMENT_SIDE, _MOMENT_SIDE))
            planned.pictures[number][frame.number - track.first] = picture


def _drawn(frame: Frame, found: RecoveredClip, body: BodyModel, size: tuple[int, int]) -> np.ndarray:
    """The frame with everybody who is in it, in the film's size; a frame of another shape stands on plain paper."""
    if frame.rgb is None:
        return np.full((size[1], size[0], 3), PAPER, np.uint8)
    width, height = frame.rgb.shape[1], frame.rgb.shape[0]
    scale = min(size[0] / width, size[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.array(Image.fromarray(frame.rgb).resize(inner, Image.Resampling.BILINEAR))
    there = [(n, t, frame.number - t.first) for n, t in enumerate(found.tracks) if 0 <= frame.number - t.first < len(t)]
    if there:
        parts = [vertices(body, body_params(t, slice(i, i + 1))) for _, t, i in there]
        colors = [_FILLED if t.interpolated[i] else PERSON_COLORS[n % len(PERSON_COLORS)] for n, t, i in there]
        K = torch.from_numpy(there[0][1].K[there[0][2]])
        K = scaled_intrinsics(K, (inner[0] / width, inner[1] / height))
        small = people_over(small, torch.cat(parts), body.faces, K, torch.tensor(colors))
    if inner == size:
        return small
    sheet = np.full((size[1], size[0], 3), PAPER, np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    sheet[top : top + inner[1], left : left + inner[0]] = small
    return sheet
