"""The skeleton of a labelled body drawn on a picture, so that one sees whether its frame is right."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, PARENTS
from hmralign.overlays.overlay import Picture, Window

_SIDES = {"left": (255, 122, 69), "right": (34, 197, 160)}
_MIDDLE, _MARK = (250, 219, 95), (255, 255, 255)


def draw_joints(
    picture: Picture,
    joints: Float[Tensor, "29 2"],
    window: Window,
    marked: Float[Tensor, "points 2"] | None = None,
    is_marked: Bool[Tensor, " points"] | None = None,
) -> Picture:
    """A copy of `picture` (which shows `window` of the full image) with bones between joints, pixels of the full image.

    The person's left side is orange, the right side green, as in `draw_keypoints`. White rings are where the file has
    points: joints, or keypoints on the surface.
    """
    height, width = picture.shape[:2]
    scale = np.array([width / (window[2] - window[0]), height / (window[3] - window[1])])
    places = (joints.detach().cpu().double().numpy() + 0.5 - np.array(window[:2])) * scale - 0.5
    image = Image.fromarray(picture).copy()
    pen, thick = ImageDraw.Draw(image), max(2, round(0.008 * max(height, width)))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0 and np.isfinite(places[[joint, parent]]).all():
            pen.line([tuple(places[parent]), tuple(places[joint])], fill=_color(joint), width=thick)
    if marked is not None and is_marked is not None:
        rings = (marked.detach().cpu().double().numpy() + 0.5 - np.array(window[:2])) * scale - 0.5
        for x, y in rings[is_marked.cpu().numpy()]:
            r = 1.6 * thick
            pen.ellipse((x - r, y - r, x + r, y + r), outline=_MARK, width=max(1, thick // 2))
    return np.array(image)


def _color(joint: int) -> tuple[int, int, int]:
    return next((color for side, color in _SIDES.items() if JOINT_NAMES[joint].startswith(side)), _MIDDLE)
