"""Tiles: sizes that vision models take as they are, the letter in the margin, one scale, one direction, same bytes."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.overlays import hypothesis_tile
from hmralign.overlays.hypothesis_tile import PAPER_STYLE, TILE_STEP, GroupPictures, TileStyle, group_pictures
from hmralign.overlays.overlay import PAPER
from hmralign.structures import Camera, InputError, Observation
from hmralign.vlm.image_tokens import ImageGrid, image_tokens
from support.capsule_figure import capsule_figure

SIDE = 128
WINDOW = (40, 20, 296, 276)
SMALL = TileStyle(side=SIDE, views="overlay+side+top")
K = torch.tensor([[170.0, 0, 63.5], [0, 170.0, 63.5], [0, 0, 1]])
CAMERA = Camera(K, SIDE, SIDE, "given")
BOX = torch.tensor([100.0, 60.0, 236.0, 240.0])
GREEN = np.full((SIDE, SIDE, 3), (0, 160, 0), np.uint8)


def seen() -> Observation:
    keypoints = torch.full((27, 2), 150.0)
    confidence = torch.zeros(27)
    keypoints[:3] = torch.tensor([[120.0, 80.0], [200.0, 80.0], [160.0, 200.0]])
    confidence[:3] = 0.9
    mask = torch.zeros(48, 48)
    return Observation(keypoints, confidence, BOX, K, torch.tensor(True), mask, torch.tensor(False))


def drawn(count=3, style=SMALL, is_photo=True, trunks=None, vertices=None) -> GroupPictures:
    bodies, faces = capsule_figure(count, place=(0.0, 0.0, 3.0))
    return group_pictures(
        GREEN, WINDOW, CAMERA, seen(), bodies if vertices is None else vertices, faces, is_photo=is_photo,
        trunks=trunks, style=style,
    )  # fmt: skip


def opened(data: bytes) -> np.ndarray:
    image = Image.open(BytesIO(data))
    assert image.format == "JPEG"
    return np.array(image)


def body_rows_columns(view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(np.abs(view.astype(int) - PAPER).sum(-1) > 24)
    return rows, columns


@pytest.mark.parametrize("views", ["overlay", "overlay+side", "overlay+side+top"])
@pytest.mark.parametrize("strip", [0, 32])
def test_sides_are_multiples_of_what_one_token_sees(views, strip):
    style = TileStyle(side=SIDE, views=views, strip=strip)
    pictures = drawn(2, style)
    tile, photo = opened(pictures.tile(1, "K")), opened(pictures.photo_tile())
    assert tile.shape[:2] == style.tile_size and all(s % TILE_STEP == 0 for s in (*tile.shape[:2], *photo.shape[:2]))
    assert tile.shape[1] == SIDE * (1 + views.count("+"))
    assert photo.shape[:2] == (SIDE + strip, SIDE)
    assert pictures.style == style and PAPER_STYLE.tile_size == (384, 384)
    cells = tile.shape[0] * tile.shape[1] // TILE_STEP**2
    assert image_tokens(tile.shape[1], tile.shape[0], ImageGrid(least_pixels=1)) == cells
    assert image_tokens(TileStyle().tile_size[1], TileStyle().tile_size[0]) == 312


def test_the_same_input_gives_the_same_bytes():
    first, second = drawn(), drawn()
    assert first.tile(2, "M") == second.tile(2, "M") and first.photo_tile() == second.photo_tile()
    assert first.tile(2, "M") != first.tile(2, "K") and first.tile(2, "M") != first.tile(1, "M")
    assert SMALL.sha256 != TileStyle(side=SIDE).sha256 and SMALL.sha256 == TileStyle(**vars(SMALL)).sha256


def test_a_label_changes_the_margin_alone():
    pictures = drawn()
    plain, named = opened(pictures.tile(0)).astype(int), opened(pictures.tile(0, "K")).astype(int)
    assert (plain[SMALL.strip :] == named[SMALL.strip :]).all()
    assert (np.abs(plain - named)[: SMALL.strip].max(-1) > 60).sum() > 30
    letter = np.nonzero(named[: SMALL.strip, : SMALL.strip].min(-1) > 200)  # bright, and as high as half the strip
    assert np.ptp(letter[0]) > SMALL.strip / 2


def test_the_target_is_outlined_in_every_overlay_and_the_photo():
    outlined, bare = drawn(), drawn(style=TileStyle(side=SIDE, views="overlay+side", outline=False))
    # Around the box, in pixels of the picture: (100 - reach - 40) / 2 and so on, reach 0.08 * 180.
    left, top = round((100 - 14.4 - 40 + 0.5) / 2 - 0.5), round((60 - 14.4 - 20 + 0.5) / 2 - 0.5)
    for picture in (outlined.photo, *outlined.views[0]):
        assert (picture[top, left : left + 20] == hypothesis_tile._BOX_COLOR).all()
        assert (picture[top : top + 20, left] == hypothesis_tile._BOX_COLOR).all()
    for picture in (bare.photo, *bare.views[0], *outlined.views[1], *outlined.views[2]):
        assert not (picture == hypothesis_tile._BOX_COLOR).all(-1).any()


def test_a_box_that_leaves_the_picture_is_drawn_at_its_edge():
    everywhere = replace(seen(), box=torch.tensor([-500.0, -500.0, 900.0, 900.0]))
    bodies, faces = capsule_figure(1, place=(0.0, 0.0, 3.0))
    picture = group_pictures(GREEN, WINDOW, CAMERA, everywhere, bodies, faces, is_photo=True, style=SMALL).photo
    assert (picture[1, 5:-5] == hypothesis_tile._BOX_COLOR).all()


def test_what_is_near_to_the_camera_is_right_in_the_side_view_and_low_from_above():
    """An arm towards the camera: the body reaches further on that side of its middle line."""
    bodies, _ = capsule_figure(1, place=(0.0, 0.0, 3.0))
    arm = bodies.clone()
    high = bodies[0, :, 1] < bodies[0, :, 1].quantile(0.2)
    arm[0, high, 2] -= 0.6
    _, side, top = drawn(1, vertices=arm).views
    rows, columns = body_rows_columns(side[0])
    assert columns[rows < np.quantile(rows, 0.2)].mean() > columns[rows > np.quantile(rows, 0.5)].mean() + 10
    plain_rows = body_rows_columns(drawn(1, vertices=bodies).views[2][0])[0]
    assert np.ptp(body_rows_columns(top[0])[0]) > np.ptp(plain_rows) + 10


def test_the_turned_views_have_the_scale_of_the_overlay_where_bodies_fit():
    pictures = drawn(1, TileStyle(side=SIDE, views="overlay+side", outline=False))
    over = np.abs(pictures.views[0][0].astype(int) - GREEN).sum(-1) > 24
    height = np.ptp(np.nonzero(over)[0])
    assert abs(np.ptp(body_rows_columns(pictures.views[1][0])[0]) / height - 1) < 0.06
    near, faces = capsule_figure(2, place=(0.0, 0.0, 1.2))  # larger than the picture
    big = group_pictures(GREEN, WINDOW, CAMERA, seen(), near, faces, is_photo=True, style=SMALL)
    for view in (*big.views[1], *big.views[2]):
        rows, columns = body_rows_columns(view)
        assert min(rows.min(), columns.min()) > 0 and max(rows.max(), columns.max()) < SIDE - 1


def test_bodies_of_a_group_keep_their_sizes():
    bodies, _ = capsule_figure(1, place=(0.0, 0.0, 3.0))
    half = (bodies - bodies.mean(1, keepdim=True)) * 0.5 + bodies.mean(1, keepdim=True)
    side = drawn(vertices=torch.cat([bodies, half])).views[1]
    heights = [np.ptp(body_rows_columns(v)[0]) for v in side]
    assert abs(heights[1] / heights[0] - 0.5) < 0.06


def test_of_a_person_lying_across_the_picture_the_view_from_above_comes_first():
    upright, across = torch.tensor([[0.1, -0.9, 0.3]] * 3), torch.tensor([[0.9, -0.2, 0.3]] * 3)
    a, b, c = drawn(trunks=upright), drawn(trunks=across), drawn()
    assert a.captions[1].startswith("side view") and b.captions[1].startswith("from above")
    assert (a.views[1] == b.views[2]).all() and (a.views[2] == b.views[1]).all() and (a.views[1] == c.views[1]).all()


def test_without_a_photo_the_keypoints_are_drawn_on_everything_and_the_strip_says_so():
    paper, photo = drawn(is_photo=False), drawn(is_photo=True)
    assert "keypoints" in paper.captions[0] and "photo" in photo.captions[0]
    changed = [np.abs(a.astype(int) - b).sum(-1) > 0 for a, b in zip(paper.views[0], photo.views[0], strict=True)]
    spot = tuple(round((c - o + 0.5) / 2 - 0.5) for c, o in ((200.0, 20), (160.0, 40)))
    assert all(c[spot] for c in changed) and (paper.photo[spot] != photo.photo[spot]).any()
    assert paper.photo_tile()[:2] == b"\xff\xd8" and paper.photo_tile() != photo.photo_tile()


def test_one_call_of_the_renderer_per_view(monkeypatch):
    calls = []
    from hmralign.rendering import shading

    real = shading.render_over
    monkeypatch.setattr(shading, "render_over", lambda p, *rest: calls.append(len(p)) or real(p, *rest))
    drawn(5)
    assert calls == [5, 5, 5]


def test_what_cannot_be_drawn_is_named():
    for wrong in ({"side": 100}, {"side": 32}, {"strip": 20}, {"alpha": 0.0}, {"quality": 0}):
        with pytest.raises(InputError, match="expected"):
            replace(TileStyle(), **wrong)
    pictures = drawn()
    with pytest.raises(InputError, match="no hypothesis 3; the group has 3"):
        pictures.tile(3, "K")
    for label in ("x" * 13, "ä", "a\nb"):
        with pytest.raises(InputError, match="is no label"):
            pictures.tile(0, label)
    with pytest.raises(InputError, match="expected 384 x 384"):
        drawn(style=TileStyle())
    behind, _ = capsule_figure(1, place=(0.0, 0.0, -3.0))
    with pytest.raises(InputError, match="in front of the camera"):
        drawn(1, vertices=behind)
