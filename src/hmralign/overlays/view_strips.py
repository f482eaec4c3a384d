"""All views of a person side by side, and skeletons over them: what one looks at before and after a fine-tuning.

A normal is shown as a colour, (n + 1) / 2 for x to the right, y up and z towards the viewer, over white by the mask.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from hmralign.overlays.overlay import Picture

_SIDE_COLORS = {"left": (255, 122, 69), "right": (34, 197, 160)}
_MIDDLE_COLOR = (60, 60, 60)


def view_strip(views: Float[Tensor, "view 4 h w"], scale: int = 4) -> Picture:
    """The views of one person from left to right, each pixel `scale` pixels large."""
    pixels = views.detach().cpu().float().permute(0, 2, 3, 1).numpy()  # (V, h, w, 4)
    mask = pixels[..., 3:].clip(0, 1)
    normal = pixels[..., :3] * np.array([1.0, -1.0, -1.0])
    color = (normal + mask) / 2 + (1 - mask)  # normals come times the mask already
    row = np.concatenate(list(color), axis=1)  # (h, V w, 3)
    picture = (255 * row.clip(0, 1)).round().astype(np.uint8)
    return picture.repeat(scale, 0).repeat(scale, 1)


def with_skeletons(strip: Picture, pixels: Float[Tensor, "view 24 2"], scale: int = 4) -> Picture:
    """A copy of a strip with one skeleton over each view, from joints in the pixels of the views.

    The person's left side is orange, the right side green.
    """
    size = strip.shape[0] // scale
    image = Image.fromarray(strip)
    pen = ImageDraw.Draw(image)
    places = (pixels.detach().cpu().double().numpy() + 0.5) * scale - 0.5
    for view, joints in enumerate(places):
        moved = joints + np.array([view * size * scale, 0.0])
        for joint in range(1, NUM_JOINTS):
            side = JOINT_NAMES[joint].split("_")[0]
            line = [tuple(moved[PARENTS[joint]]), tuple(moved[joint])]
            pen.line(line, fill=_SIDE_COLORS.get(side, _MIDDLE_COLOR), width=max(1, scale // 3))
    return np.array(image)
