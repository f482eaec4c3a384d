"""Observed 2D keypoints drawn on a picture, so that one sees what the answer was fitted to."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.overlays.overlay import Picture, Window

_PAIRS = (
    "nose left_eye", "nose right_eye", "left_eye left_ear", "right_eye right_ear", "left_shoulder right_shoulder",
    "left_shoulder left_elbow", "left_elbow left_wrist", "right_shoulder right_elbow", "right_elbow right_wrist",
    "left_shoulder left_hip", "right_shoulder right_hip", "left_hip right_hip", "left_hip left_knee",
    "left_knee left_ankle", "right_hip right_knee", "right_knee right_ankle", "left_ankle left_heel",
    "left_ankle left_big_toe", "left_big_toe left_small_toe", "right_ankle right_heel", "right_ankle right_big_toe",
    "right_big_toe right_small_toe", "left_wrist left_index_knuckle", "left_wrist left_pinky_knuckle",
    "right_wrist right_index_knuckle", "right_wrist right_pinky_knuckle",
)  # fmt: skip
LIMBS = tuple(tuple(KEYPOINT_NAMES.index(name) for name in pair.split()) for pair in _PAIRS)
"""Pairs of keypoints that are joined by a line."""

_SIDE_COLORS = {"left": (255, 122, 69), "right": (34, 197, 160)}
_MIDDLE_COLOR = (250, 219, 95)


def draw_keypoints(
    picture: Picture,
    keypoints: Float[Tensor, "kp 2"],
    confidence: Float[Tensor, " kp"],
    window: Window,
    min_confidence: float = 0.3,
) -> Picture:
    """A copy of `picture` (which shows `window` of the full image) with the keypoints and limbs.

    `keypoints` are full-image pixels in the order of `KEYPOINT_NAMES`; those below `min_confidence` are left out.
    The person's left side is orange, the right side green.
    """
    height, width = picture.shape[:2]
    scale = np.array([width / (window[2] - window[0]), height / (window[3] - window[1])])
    points = (keypoints.detach().cpu().double().numpy() + 0.5 - np.array(window[:2])) * scale - 0.5
    shown = confidence.detach().cpu().numpy() >= min_confidence
    result = np.array(picture)
    if not shown.any():
        return result
    # Drawn four times finer and shrunk: smooth lines. What lies around the person stays as it is.
    thick = max(1.5, 0.008 * max(height, width))
    low = np.clip(np.floor(points[shown].min(0) - 2 * thick - 2), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(points[shown].max(0) + 2 * thick + 3), low + 1, (width, height)).astype(int)
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    fine = Image.new("RGBA", ((right - left) * 4, (bottom - top) * 4), (0, 0, 0, 0))
    places = [((x - left) * 4 + 1.5, (y - top) * 4 + 1.5) for x, y in points.tolist()]
    _draw_fine(ImageDraw.Draw(fine), places, shown, thick)
    drawn = np.asarray(fine.reduce(4), np.float32)
    around = result[top:bottom, left:right]
    opacity = drawn[..., 3:] / 255
    around[:] = np.rint(around * (1 - opacity) + drawn[..., :3] * opacity)
    return result


def _draw_fine(pen: ImageDraw.ImageDraw, places: list[tuple[float, float]], shown: np.ndarray, thick: float) -> None:
    """Limbs `thick` pixels wide, then joints, on a drawing that is four times finer."""
    for a, b in LIMBS:
        if shown[a] and shown[b]:
            pen.line([places[a], places[b]], fill=(*_limb_color(a, b), 235), width=round(thick * 4))
    for i, (x, y) in enumerate(places):
        if shown[i]:
            r = thick * 3.6
            pen.ellipse(
                (x - r, y - r, x + r, y + r), fill=(*_limb_color(i, i), 255), outline=(20, 20, 20, 255), width=2
            )


def _limb_color(a: int, b: int) -> tuple[int, int, int]:
    sides = {KEYPOINT_NAMES[a].split("_")[0], KEYPOINT_NAMES[b].split("_")[0]}
    return _SIDE_COLORS[sides.pop()] if len(sides) == 1 and sides <= set(_SIDE_COLORS) else _MIDDLE_COLOR
