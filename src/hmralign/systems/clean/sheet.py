"""A look at the labels about the threshold: each person's keypoints, the label over them, and from the side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from hmralign.body.free_body import shown_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.cleaning.selection import Selection
from hmralign.overlays.contact_sheet import Tile, contact_sheet
from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import draw_overlays, draw_side_views
from hmralign.preferences.sheet import WORST_COLOR, person_ground
from hmralign.rendering.shading import SKY_BLUE
from hmralign.systems.clean.scores import LabelScores
from hmralign.systems.clean.sources import LabelSource

SIDE = 224
"""Side of each square picture, pixels."""

COLUMNS = 3


def borderline_sheet(
    source: LabelSource,
    body: BodyModel,
    scored: LabelScores,
    selection: Selection,
    items: Sequence[int],
    critic: str,
    side: int = SIDE,
) -> Image.Image:
    """The items in the given order, kept labels blue and dropped ones red.

    Each is drawn on what is known of the person: keypoints and mask on plain paper.
    """
    body = shown_body(body)
    tiles = [_tile(source, body, scored, selection, item, side) for item in items]
    kept = sum(bool(selection.keep[item]) for item in items)
    title = (
        f"{source.name}: threshold {selection.threshold:.3g} by {critic}; nearest to it {kept} kept (blue), "
        f"{len(items) - kept} dropped (red)"
    )
    return contact_sheet(tiles, columns=min(COLUMNS, len(items)), title=title)


def _tile(
    source: LabelSource, body: BodyModel, scored: LabelScores, selection: Selection, item: int, side: int
) -> Tile:
    batch = source.labels(slice(item, item + 1))
    seen, params = batch.example.observation[0], batch.hypotheses.body[0, scored.chosen[item]]
    ground = person_ground(None, None, seen, side)
    mesh = vertices(body, params)[None]
    is_kept = bool(selection.keep[item])
    color = torch.tensor([SKY_BLUE if is_kept else WORST_COLOR])[:, None].expand_as(mesh)
    over = draw_overlays(ground.picture, mesh, body.faces, ground.camera, vertex_colors=color)[0]
    turned = draw_side_views(mesh, body.faces, (side, side), vertex_colors=color)[0]
    evidence, over = (draw_keypoints(p, seen.keypoints, seen.confidence, ground.window) for p in (ground.picture, over))
    score = float(selection.levels[item])
    return Tile((evidence, over, turned), source.ids[item], f"{'kept' if is_kept else 'dropped'}, {score:.3f}")
