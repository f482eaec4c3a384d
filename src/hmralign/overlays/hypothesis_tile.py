"""What a judge is shown of a group: one picture per hypothesis, all drawn in the same way, and one of the photo.

    +----------------------------------------------+
    | K  over the photo | side view, camera right  |   margin strip: letter and captions, never over the body
    +-------------------+--------------------------+
    |   person's crop   |   the predicted mesh     |
    |   with the mesh   |   alone, turned          |
    +-------------------+--------------------------+

The overlay cannot show what lies in depth; the turned views can, and show the predicted mesh alone. Two quarter turns
are drawn: about the picture's vertical (side view) and about its horizontal (from above). Of a person whose trunk lies
across the picture the view from above comes first, since the side view would look along the trunk. The choice is made
once for a group, and the turned views share the scale of the overlay, or the largest that shows every body of the
group whole. Sides are multiples of 32 pixels, which vision models with patches of 16 merged by 2 read without resizing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import PAPER, Picture, Window, draw_overlays
from hmralign.rendering.shading import drawn_over
from hmralign.rendering.views import framed, side_view, top_view
from hmralign.structures import Camera, InputError, Observation

Views = Literal["overlay", "overlay+side", "overlay+side+top"]

TILE_STEP = 32
"""Sides of tiles are multiples of this, pixels."""
MAX_LABEL = 12
"""Characters of a label that fit the strip."""

_DRAWING = 1
"""Raised whenever the same style gives other pixels."""
_BOX_COLOR = (230, 25, 25)
_STRIP = (28, 32, 38)
_LETTER = (255, 255, 255)
_CAPTION = (205, 211, 220)
_SIDE_CAPTION = "side view, camera at the right"
_TOP_CAPTION = "from above, camera at the bottom"


@dataclass(frozen=True)
class TileStyle:
    """How tiles are drawn; the same for all of a group, since presentation alone moves a judge."""

    views: Views = "overlay+side"
    side: int = 384
    """Side of each square view, pixels; a multiple of 32."""
    strip: int = 32
    """Height of the margin with letter and captions, pixels; a multiple of 32, 0 for none."""
    alpha: float = 0.75
    """Opacity of the body over the photo, above 0 up to 1."""
    outline: bool = True
    """Whether the target person has a red box."""
    quality: int = 90
    """Quality of the JPEG files."""

    def __post_init__(self) -> None:
        """Raise InputError for sizes that no vision model reads as they are."""
        for name, value, least in (("side", self.side, 2 * TILE_STEP), ("strip", self.strip, 0)):
            if value < least or value % TILE_STEP:
                raise InputError(f"{name} of a tile is {value}; expected a multiple of {TILE_STEP}, at least {least}")
        if not 0 < self.alpha <= 1:
            raise InputError(f"opacity of a tile is {self.alpha}; expected above 0, at most 1")
        if not 1 <= self.quality <= 95:
            raise InputError(f"JPEG quality is {self.quality}; expected 1 to 95")

    @property
    def sha256(self) -> str:
        """Hash of all that decides how a group is drawn, for the record of a critic."""
        text = json.dumps({"drawing": _DRAWING, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of a tile, pixels."""
        return self.strip + self.side, self.side * len(self.views.split("+"))


PAPER_STYLE = TileStyle(views="overlay", strip=0, outline=False)
"""Overlays alone, unmarked, as in Shen et al. 2026 (arXiv 2602.19180)."""


@dataclass(frozen=True)
class GroupPictures:
    """A group, drawn once; letters are added per call. Views are uint8 RGB, `captions` say how each was taken."""

    photo: Picture
    views: tuple[UInt8[np.ndarray, "hyp side side 3"], ...]
    captions: tuple[str, ...]
    is_photo: bool
    style: TileStyle

    def tile(self, hypothesis: int, label: str = "") -> bytes:
        """JPEG of one hypothesis with a label in the strip; the same arguments give the same bytes.

        Raises InputError for a hypothesis that the group has not and a label that does not fit or cannot be drawn.
        """
        count = len(self.views[0])
        if not 0 <= hypothesis < count:
            raise InputError(f"there is no hypothesis {hypothesis}; the group has {count}")
        return _file([v[hypothesis] for v in self.views], self.captions, label, self.style)

    def photo_tile(self) -> bytes:
        """JPEG of the photo, or of what was observed of the person where there is none, without any body."""
        caption = "PHOTO, no body drawn" if self.is_photo else "NO PHOTO: observed keypoints, mask"
        return _file([self.photo], (caption,), "", self.style)


def group_pictures(
    ground: Picture,
    window: Window,
    camera: Camera,
    seen: Observation,
    vertices: Float[Tensor, "hyp vert 3"],
    faces: Int[Tensor, "face 3"],
    *,
    is_photo: bool,
    trunks: Float[Tensor, "hyp 3"] | None = None,
    style: TileStyle | None = None,
) -> GroupPictures:
    """Draw all hypotheses of a person, one call of the renderer per view.

    `ground` is the square picture of `window`, of the style's side, and `camera` is that picture's own; without a photo
    it is paper with the mask, and the keypoints of `seen` (one person, full-image pixels) are drawn over everything.
    `vertices` are `cam` metres. `trunks` are the bodies' own vertical axes (`rendering.views.body_up`); without them
    every body counts as upright.

    Raises InputError where ground, camera and style do not fit together, and for bodies behind the camera.
    """
    style = style or TileStyle()
    shape = (style.side, style.side, 3)
    if ground.shape != shape or (camera.height, camera.width) != shape[:2]:
        raise InputError(
            f"the ground is {ground.shape[1]} x {ground.shape[0]} pixels, its camera's picture {camera.width} x "
            f"{camera.height}; expected {style.side} x {style.side}"
        )
    overlays = draw_overlays(ground, vertices, faces, camera, alpha=style.alpha)
    photo, *overlays = (marked_picture(p, window, seen, is_photo, style.outline) for p in (ground, *overlays))
    views, captions = [np.stack(overlays)], ["over the photo" if is_photo else "over the keypoints"]
    wanted = style.views.count("+")
    if wanted:
        turned = _turned(vertices, _lies_across(trunks))[:wanted]
        scale = _overlay_scale(vertices, camera)
        views += _draw_turned([v for v, _ in turned], faces, style.side, scale)
        captions += [caption for _, caption in turned]
    return GroupPictures(photo, tuple(views), tuple(captions), is_photo, style)


def _lies_across(trunks: Float[Tensor, "hyp 3"] | None) -> bool:
    """Whether the group's trunk is nearer to the picture's horizontal than to its vertical and to the line of sight."""
    if trunks is None:
        return False
    x, y, z = (abs(float(c)) for c in trunks.double().mean(0))
    return x > max(y, z)


def _turned(vertices: Tensor, across: bool) -> list[tuple[Tensor, str]]:
    """Both quarter turns, the more telling one first."""
    side, top = (side_view(vertices), _SIDE_CAPTION), (top_view(vertices), _TOP_CAPTION)
    return [top, side] if across else [side, top]


def _overlay_scale(vertices: Tensor, camera: Camera) -> float:
    """Pixels per metre of the overlay at the group's middle."""
    depth = float(vertices[..., 2].mean(1).median())
    if not depth > 0:
        raise InputError(f"the bodies lie {depth:.2f} m in front of the camera; expected more than 0")
    return float(camera.K[0, 0]) / depth


def _draw_turned(views: Sequence[Tensor], faces: Tensor, side: int, scale: float) -> list[np.ndarray]:
    """Each body centred in each view, all at `scale` pixels per metre or the largest that shows every body whole."""
    placed = [framed(v, (side, side), margin=0.04) for v in views]
    distances = [float(v[0, :, 2].amin() + v[0, :, 2].amax()) / 2 for v, _ in placed]
    fits = [float(K[0, 0]) / d for (_, K), d in zip(placed, distances, strict=True)]
    common = min(scale, *fits)
    pictures = []
    for (vertices, K), fit in zip(placed, fits, strict=True):
        K = K.clone()
        K[[0, 1], [0, 1]] *= common / fit
        pictures.append(drawn_over(np.full((side, side, 3), PAPER, np.uint8), vertices, faces, K))
    return pictures


def marked_picture(picture: Picture, window: Window, seen: Observation, is_photo: bool, outline: bool) -> Picture:
    """The picture with the keypoints where there is no photo, and the red box of the target person."""
    if not is_photo:
        picture = draw_keypoints(picture, seen.keypoints, seen.confidence, window)
    if not outline:
        return np.asarray(picture)
    scale = len(picture) / (window[2] - window[0])
    x0, y0, x1, y1 = (float(c) for c in seen.box)
    # The box of keypoints ends at the eyes: a little more shows the head, and keeps the line off the limbs.
    reach = 0.08 * max(x1 - x0, y1 - y0)
    corners = (x0 - reach - window[0], y0 - reach - window[1], x1 + reach - window[0], y1 + reach - window[1])
    last = len(picture) - 2
    places = [min(max(round((c + 0.5) * scale - 0.5), 1), last) for c in corners]
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).rectangle(places, outline=_BOX_COLOR, width=2)
    return np.array(image)


def _file(pictures: Sequence[Picture], captions: Sequence[str], label: str, style: TileStyle) -> bytes:
    if len(label) > MAX_LABEL or not label.isascii() or (label and not label.isprintable()):
        raise InputError(f"'{label[:40]}' is no label; expected at most {MAX_LABEL} printable ASCII characters")
    rows = np.concatenate(pictures, axis=1)
    if style.strip:
        rows = np.concatenate([_strip(tuple(captions), label, len(pictures), style), rows])
    sheet, file = Image.fromarray(rows), BytesIO()
    # No subsampling of colours: the letter and thin lines stay sharp.
    sheet.save(file, "JPEG", quality=style.quality, subsampling=0)
    return file.getvalue()


@lru_cache(maxsize=128)
def _strip(captions: tuple[str, ...], label: str, views: int, style: TileStyle) -> Picture:
    """The margin above so many views; kept, as the letters of one group are those of the next."""
    strip = Image.new("RGB", (style.side * views, style.strip), _STRIP)
    pen, middle = ImageDraw.Draw(strip), style.strip / 2
    letter, small = ImageFont.load_default(round(style.strip * 0.85)), ImageFont.load_default(round(style.strip * 0.45))
    start = 8.0
    if label:
        pen.text((start, middle), label, font=letter, fill=_LETTER, anchor="lm", stroke_width=1)
        start += pen.textlength(label, font=letter) + 14
    for number, caption in enumerate(captions):
        place = (start if number == 0 else number * style.side + 8, middle)
        pen.text(place, caption, font=small, fill=_CAPTION, anchor="lm")
    return np.array(strip)
