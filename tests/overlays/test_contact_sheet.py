"""The sheet shows the hypotheses in the order of their scores, and the keypoints where they were observed."""

import numpy as np
import pytest
import torch

from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.overlays.contact_sheet import Tile, contact_sheet, hypothesis_tiles
from hmralign.overlays.keypoints import LIMBS, draw_keypoints
from hmralign.structures import Camera, InputError
from support.capsule_figure import capsule_figure

PHOTO = np.full((180, 240, 3), 90, np.uint8)
CAMERA = Camera(torch.tensor([[200.0, 0, 119.5], [0, 200.0, 89.5], [0, 0, 1]]), 240, 180, "given")
BOX = torch.tensor([80.0, 30.0, 170.0, 150.0])


def test_tiles_come_best_score_first():
    vertices, faces = capsule_figure(4)
    scores = torch.tensor([0.2, 0.9, 0.9, 0.1])
    tiles = hypothesis_tiles(PHOTO, vertices, faces, CAMERA, BOX, scores, fused=vertices[0], side=64)
    assert [t.label for t in tiles[1:]] == ["fused", "#1  (hyp 1)", "#2  (hyp 2)", "#3  (hyp 0)", "#4  (hyp 3)"]
    assert tiles[2].note == "score 0.900"
    assert all(p.shape == (64, 64, 3) for t in tiles[1:] for p in t.pictures)
    unscored = hypothesis_tiles(PHOTO, vertices, faces, CAMERA, BOX, side=64, limit=2)
    assert [t.label for t in unscored] == ["photo", "#1  (hyp 0)", "#2  (hyp 1)"]


def test_bodies_of_tiles_are_faint_behind_somebody_as_in_overlays():
    vertices, faces = capsule_figure(2)
    nearer = vertices[:1] + torch.tensor([0.2, 0.0, -1.0])
    given = {"fused": vertices[0], "side": 64}
    alone = hypothesis_tiles(PHOTO, vertices, faces, CAMERA, BOX, **given)
    hidden = hypothesis_tiles(PHOTO, vertices, faces, CAMERA, BOX, in_front=nearer, **given)
    behind = hypothesis_tiles(PHOTO, vertices, faces, CAMERA, BOX, in_front=nearer + torch.tensor([0, 0, 3.0]), **given)
    for plain, faint, other in zip(alone[1:], hidden[1:], behind[1:], strict=True):
        away = [np.abs(p.pictures[0].astype(float) - alone[0].pictures[0]).sum() for p in (plain, faint)]
        assert away[1] < 0.9 * away[0]
        assert np.array_equal(plain.pictures[1], faint.pictures[1])  # alone in the side view
        assert np.array_equal(plain.pictures[0], other.pictures[0])


def test_every_tile_is_on_the_sheet_unchanged():
    tiles = [Tile((np.full((40, 40, 3), 20 * n, np.uint8),), f"tile {n}", "note") for n in range(7)]
    sheet = np.array(contact_sheet(tiles, columns=3, title="seven"))
    for n in range(1, 7):
        assert (sheet == 20 * n).all(-1).sum() >= 38 * 38
    assert contact_sheet(tiles).width > 0
    with pytest.raises(InputError, match="at least one"):
        contact_sheet([])


def test_long_words_do_not_leave_their_tile():
    tile = Tile((np.full((40, 40, 3), 255, np.uint8),), "an exceedingly long label " * 5, "note")
    sheet = contact_sheet([tile], columns=1)
    assert sheet.width == 60
    assert (np.array(sheet)[:, -8:] == 255).all()


def test_keypoints_are_drawn_where_they_were_observed():
    keypoints, confidence = torch.zeros(NUM_KEYPOINTS, 2), torch.zeros(NUM_KEYPOINTS)
    keypoints[0], confidence[0] = torch.tensor([100.0, 60.0]), 0.9
    keypoints[9], confidence[9] = torch.tensor([150.0, 90.0]), 0.1
    window = (80, 40, 180, 140)
    picture = np.full((200, 200, 3), 90, np.uint8)
    drawn = draw_keypoints(picture, keypoints, confidence, window)
    rows, columns = np.nonzero((drawn != picture).any(-1))
    assert abs(columns.mean() - ((100.5 - 80) * 2 - 0.5)) < 0.6 and abs(rows.mean() - ((60.5 - 40) * 2 - 0.5)) < 0.6
    assert np.ptp(columns) < 10  # the doubtful one is left out
    assert (picture == 90).all()
    assert len(set(LIMBS)) == len(LIMBS)
