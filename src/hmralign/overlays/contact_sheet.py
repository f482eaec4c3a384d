"""A contact sheet: one PNG that shows a person's hypotheses side by side, for people, terminals and critics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import (
    Photo,
    Picture,
    cut_photo,
    draw_overlays,
    draw_side_views,
    person_window,
    picture_camera,
)
from hmralign.rendering.shading import WARM_GOLD
from hmralign.structures import Camera, InputError

_GAP = 10
_PAGE = (255, 255, 255)
_INK = (28, 32, 38)
_FAINT = (110, 118, 130)
_RULE = (214, 218, 224)


@dataclass(frozen=True)
class Tile:
    """Pictures shown side by side above a strip with `label` (left) and `note` (right)."""

    pictures: tuple[Picture, ...]
    label: str
    note: str = ""


def contact_sheet(tiles: Sequence[Tile], columns: int | None = None, title: str = "") -> Image.Image:
    """`sheet_picture` as an image."""
    return Image.fromarray(sheet_picture(tiles, columns, title))


def sheet_picture(tiles: Sequence[Tile], columns: int | None = None, title: str = "") -> Picture:
    """Lay the tiles out in a grid, row by row; without `columns` the sheet comes out about as wide as high.

    Every tile gets the width of the widest and the height of the highest.
    """
    if not tiles:
        raise InputError("a contact sheet needs at least one tile")
    width = max(sum(p.shape[1] for p in t.pictures) for t in tiles)
    picture_height = max(p.shape[0] for t in tiles for p in t.pictures)
    text = max(13, round(picture_height * 0.065))
    height = picture_height + round(text * 1.8)
    columns = columns or max(1, min(len(tiles), round(math.sqrt(len(tiles) * height / width * 1.4))))
    rows = math.ceil(len(tiles) / columns)
    head = round(text * 2.4) if title else 0
    sheet = np.full((head + rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _PAGE[0], np.uint8)
    if title:
        strip = Image.new("RGB", (sheet.shape[1], head + _GAP), _PAGE)
        place, room = (_GAP, _GAP + text * 0.9), strip.width - 2 * _GAP
        _write(ImageDraw.Draw(strip), title, place, round(text * 1.25), _INK, room)
        sheet[: head + _GAP] = np.asarray(strip)
    for number, tile in enumerate(tiles):
        left = _GAP + (number % columns) * (width + _GAP)
        top = head + _GAP + (number // columns) * (height + _GAP)
        _paste_tile(sheet[top : top + height, left : left + width], tile, picture_height, text)
    return sheet


def hypothesis_tiles(
    image: Photo,
    vertices: Float[Tensor, "hyp vert 3"],
    faces: Int[Tensor, "face 3"],
    camera: Camera,
    box: Float[Tensor, " 4"],
    scores: Float[Tensor, " hyp"] | None = None,
    *,
    fused: Float[Tensor, "vert 3"] | None = None,
    keypoints: Float[Tensor, "kp 2"] | None = None,
    confidence: Float[Tensor, " kp"] | None = None,
    up: Float[Tensor, "#hyp 3"] | None = None,
    in_front: Float[Tensor, "others vert 3"] | None = None,
    photo: Picture | None = None,
    side: int = 256,
    limit: int = 20,
) -> list[Tile]:
    """Photo with keypoints, the fused answer, then the hypotheses, best score first: overlay and side view each.

    At most `limit` hypotheses, in the given order when there are no scores. `side` is the side of each square picture
    in pixels; `up` as in `draw_side_views`, `in_front` as in `draw_overlays`. `photo` is the `person_window` of the box
    where it is cut out already, of that side.
    """
    window = person_window(box)
    if photo is None:
        photo, _ = cut_photo(image, window, (side, side))
    view = picture_camera(camera, window, (side, side))
    if keypoints is not None:
        seen = torch.ones(len(keypoints)) if confidence is None else confidence
        tiles = [Tile((photo, draw_keypoints(photo, keypoints, seen, window)), "photo", "keypoints")]
    else:
        tiles = [Tile((photo,), "photo")]
    order = torch.arange(len(vertices)) if scores is None else torch.argsort(scores.cpu(), descending=True, stable=True)
    order = order[:limit]
    bodies = vertices[order.to(vertices.device)]
    overlays = draw_overlays(photo, bodies, faces, view, max_side=side, in_front=in_front)
    if up is not None and up.ndim == 2 and len(up) == len(vertices):
        up = up[order.to(up.device)]
    sides = draw_side_views(bodies, faces, (side, side), up=up)
    if fused is not None:
        over = draw_overlays(photo, fused[None], faces, view, max_side=side, color=WARM_GOLD, in_front=in_front)
        turned = draw_side_views(fused[None], faces, (side, side), up=None if up is None else up[:1], color=WARM_GOLD)
        tiles.append(Tile((over[0], turned[0]), "fused", "the answer"))
    for rank, index in enumerate(order.tolist()):
        note = "" if scores is None else f"score {float(scores[index]):.3f}"
        tiles.append(Tile((overlays[rank], sides[rank]), f"#{rank + 1}  (hyp {index})", note))
    return tiles


def _paste_tile(place: Picture, tile: Tile, picture_height: int, text: int) -> None:
    """Fill the tile's place on the sheet: pictures in a frame, words below."""
    height, width = place.shape[:2]
    x = 0
    for picture in tile.pictures:
        place[: picture.shape[0], x : x + picture.shape[1]] = picture
        x += picture.shape[1]
    framed = place[:picture_height]
    framed[[0, -1]] = framed[:, [0, -1]] = _RULE
    strip = Image.new("RGB", (width, height - picture_height), _PAGE)
    pen, baseline = ImageDraw.Draw(strip), text * 0.9
    used = _write(pen, tile.label, (2, baseline), text, _INK, width - 4)
    _write(pen, tile.note, (width - 2, baseline), text, _FAINT, width - used - 12, anchor="rm")
    place[picture_height:] = np.asarray(strip)


def _write(pen, words: str, place, size: int, ink, room: float | int, anchor: str = "lm") -> float:
    """One line of text, cut with an ellipsis where there is no room; returns its width."""
    font = _font(size)
    if pen.textlength(words, font=font) > room:
        while words and pen.textlength(words + "...", font=font) > room:
            words = words[:-1]
        words = words + "..." if words else ""
    pen.text(place, words, font=font, fill=ink, anchor=anchor)
    return pen.textlength(words, font=font)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
