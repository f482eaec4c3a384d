"""Clips made by PyAV for tests, and people that move in them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from support.recover_example import alphapose_entry, example_photo


def require_av():
    return pytest.importorskip("av", reason="needs PyAV (pip install 'hmralign[video]')")


def plain_pictures(count: int, size: tuple[int, int] = (64, 48), seed: int = 0) -> list[np.ndarray]:
    """A bright square that moves over one grey scene; size is (width, height)."""
    scene = np.random.default_rng(seed).integers(90, 120, (size[1] // 8 + 1, size[0] // 8 + 1, 3), np.uint8)
    scene = np.kron(scene, np.ones((8, 8, 1), np.uint8))[: size[1], : size[0]]
    pictures = []
    for number in range(count):
        picture = scene.copy()
        picture[8:24, 4 + number % 20 : 20 + number % 20] = (230, 60, 40)
        pictures.append(picture)
    return pictures


def write_clip(
    path: Path,
    pictures: list[np.ndarray],
    times: list[float] | None = None,
    fps: int = 30,
    rotation: int | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures; with `times` (seconds) the rate varies; `rotation` is written as phones do, in degrees."""
    av = require_av()
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = options or ({"crf": "10"} if codec == "libx264" else {})
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 90_000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(90_000 * times[number]), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with a second of sound and no pictures."""
    av = require_av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        for start in range(0, 44_100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44_100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def moving_keypoints(count: int, step: float = 1.0) -> list[np.ndarray]:
    """The example person's keypoints (1, 27, 3) in each frame, walking to the right by `step` pixels a frame."""
    _, points = example_photo()
    frames = []
    for number in range(count):
        moved = points.copy()
        moved[:, 0] += step * number
        frames.append(moved[None])
    return frames


def person_pictures(count: int) -> list[np.ndarray]:
    """As many equal pictures as frames, of the example's size, which is even."""
    rgb, _ = example_photo()
    return [rgb] * count


def alphapose_frames(frames: list[np.ndarray]) -> list[dict]:
    """Entries of an AlphaPose file for the people of each frame of a video file."""
    return [alphapose_entry(f"{number}.jpg", person) for number, people in enumerate(frames) for person in people]
