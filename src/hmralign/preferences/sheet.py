"""A look at scored groups: the person, the best and the worst hypothesis in the critic's eyes, a row per group.

Photos are the pictures that the store keeps. Where there is none, keypoints and mask are drawn on plain paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.geometry.cameras import crop_affine
from hmralign.overlays.contact_sheet import Tile, contact_sheet
from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import PAPER, Picture, Window, draw_overlays, draw_side_views, person_window
from hmralign.preferences.store import GroupStore
from hmralign.rendering.shading import SKY_BLUE
from hmralign.rendering.views import window_camera
from hmralign.structures import MASK_SIZE, BodyParams, Camera, InputError, Observation

SIDE = 256
"""Side of each square picture, pixels."""

WORST_COLOR = (0.86, 0.58, 0.62)
"""Colour of the worst hypothesis; the best has that of all hypotheses."""

_MASK_COLOR = (196, 206, 220)


@dataclass(frozen=True)
class Ground:
    """What a person is drawn on: a square picture of `window`, and its camera."""

    picture: Picture
    window: Window
    camera: Camera
    is_photo: bool


def widest_groups(scores: Float[Tensor, "group hyp"], count: int) -> list[int]:
    """Groups with the largest differences between best and worst score, the largest first."""
    order = (scores.amax(1) - scores.amin(1)).argsort(descending=True, stable=True)
    return order[:count].tolist()


def drawn_groups(groups: int, count: int, generator: torch.Generator) -> list[int]:
    """Groups drawn without replacement, in the order of the store."""
    return torch.randperm(groups, generator=generator)[:count].sort().values.tolist()


def groups_sheet(
    store: GroupStore, critic: str, body: BodyModel, numbers: Sequence[int], side: int = SIDE
) -> Image.Image:
    """The groups of these numbers, a row each: person, best and worst hypothesis with their side views.

    Raises InputError for a critic without scores, no numbers, and a number that the store has not.
    """
    scores = store.scores(critic)
    wrong = [n for n in numbers if not 0 <= n < len(store)]
    if wrong or not numbers:
        raise InputError(f"{store.folder}: has groups 0 to {len(store) - 1}, asked for {wrong or 'none'}")
    starts, tiles = _starts(store), dict[int, Tile]()
    for shard in sorted({store.entries[n].shard for n in numbers}):
        groups = store.read(shard)
        for number in (n for n in numbers if store.entries[n].shard == shard):
            row = number - starts[shard]
            seen, params = groups.example.observation[row], groups.hypotheses.body[row]
            window = None if groups.crop_windows is None else groups.crop_windows[row]
            ground = person_ground(store.crop(number), window, seen, side)
            tiles[number] = _row(ground, seen, params, scores[number], body, groups.ids[row])
    size = store.facts.group_size
    title = f"{store.facts.source}: best (left, blue) and worst (right, red) of {size} by {critic}"
    return contact_sheet([tiles[number] for number in numbers], columns=1, title=title)


def _starts(store: GroupStore) -> dict[int, int]:
    """Number of the first group of each shard."""
    starts: dict[int, int] = {}
    for number, entry in enumerate(store.entries):
        starts.setdefault(entry.shard, number)
    return starts


def _row(
    ground: Ground,
    seen: Observation,
    params: BodyParams,
    scores: Float[Tensor, " hyp"],
    body: BodyModel,
    name: str,
) -> Tile:
    """One group: photo or keypoints, then each of the two bodies under the keypoints and from the side."""
    best, worst = int(scores.argmax()), int(scores.argmin())
    side = len(ground.picture)
    meshes = vertices(body, params[torch.tensor([best, worst])])
    colors = torch.tensor([SKY_BLUE, WORST_COLOR])[:, None].expand_as(meshes)
    over = draw_overlays(ground.picture, meshes, body.faces, ground.camera, vertex_colors=colors)
    turned = draw_side_views(meshes, body.faces, (side, side), vertex_colors=colors)
    evidence, first, second = (
        draw_keypoints(picture, seen.keypoints, seen.confidence, ground.window) for picture in (ground.picture, *over)
    )
    person = (ground.picture, evidence) if ground.is_photo else (evidence,)
    said = ", ".join(f"{w} {float(scores[i]):.3f} (hyp {i})" for w, i in (("best", best), ("worst", worst)))
    return Tile((*person, first, turned[0], second, turned[1]), name, said)


def person_ground(content: bytes | None, window: Float[Tensor, " 4"] | None, seen: Observation, side: int) -> Ground:
    """The stored picture of the person, at whatever scale it was stored, or paper."""
    if content is None or window is None:
        place = person_window(seen.box)
        picture = paper(seen, place, side)
    else:
        left, top, right, bottom = (round(float(v)) for v in window)
        place = (left, top, right, bottom)
        photo = Image.open(BytesIO(content), formats=("JPEG",)).convert("RGB")
        picture = np.array(photo.resize((side, side), Image.Resampling.LANCZOS))
    K = window_camera(seen.K, place, (side, side))
    known = bool(seen.knows_camera)
    camera = Camera(K, side, side, "given" if known else "estimated")
    return Ground(picture, place, camera, is_photo=content is not None and window is not None)


def paper(seen: Observation, window: Window, side: int) -> Picture:
    """Plain paper with the mask, where there is one."""
    sheet = Image.new("RGB", (side, side), PAPER)
    if bool(seen.has_mask):
        _, A_image_crop = crop_affine(seen.box, MASK_SIZE)
        # Pillow's transform asks for each pixel of the sheet where it comes from, both counted from the corners.
        scale = (window[2] - window[0]) / side
        cell = float(A_image_crop[0, 0])
        left, top = (float(v) - cell * 0.5 + 0.5 for v in A_image_crop[:, 2])
        place = (scale / cell, 0.0, (window[0] - left) / cell, 0.0, scale / cell, (window[1] - top) / cell)
        mask = Image.fromarray((seen.mask * 255).round().to(torch.uint8).numpy())
        mask = mask.transform((side, side), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
        sheet.paste(Image.new("RGB", (side, side), _MASK_COLOR), mask=mask)
    return np.array(sheet)
