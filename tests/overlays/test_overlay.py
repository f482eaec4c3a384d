"""Overlays land where the camera says, at any scale and in any window."""

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.geometry.cameras import project
from hmralign.overlays.overlay import (
    PAPER,
    cut_photo,
    draw_overlays,
    draw_people,
    draw_side_views,
    person_window,
)
from hmralign.rendering.shading import HIDDEN_OPACITY
from hmralign.structures import Camera, InputError
from support.capsule_figure import capsule_figure

WIDTH, HEIGHT = 240, 180
CAMERA = Camera(torch.tensor([[200.0, 0, 119.5], [0, 200.0, 89.5], [0, 0, 1]]), WIDTH, HEIGHT, "given")
GREEN = np.full((HEIGHT, WIDTH, 3), (0, 200, 0), np.uint8)


def _box(vertices: torch.Tensor) -> torch.Tensor:
    pixels = project(vertices, CAMERA.K)
    return torch.cat([pixels.amin(0), pixels.amax(0)])


def _body_pixels(picture: np.ndarray, photo: np.ndarray) -> np.ndarray:
    return np.abs(picture.astype(int) - photo.astype(int)).sum(-1) > 8


def test_the_body_is_where_the_camera_projects_it():
    vertices, faces = capsule_figure(3, place=(0.2, 0.1, 3.5))
    pictures = draw_overlays(GREEN, vertices, faces, CAMERA)
    assert pictures.shape == (3, HEIGHT, WIDTH, 3) and pictures.dtype == np.uint8
    for body, picture in zip(vertices, pictures, strict=True):
        rows, columns = np.nonzero(_body_pixels(picture, GREEN))
        box = _box(body).numpy()
        found = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
        assert np.abs(found - box).max() <= 1.0


def test_a_window_shows_the_same_pixels_as_the_full_picture():
    vertices, faces = capsule_figure(1, place=(0.2, 0.1, 3.5))
    full = draw_overlays(GREEN, vertices, faces, CAMERA)[0]
    window = (80, 20, 200, 160)
    part = draw_overlays(GREEN, vertices, faces, CAMERA, window=window)[0]
    assert np.abs(part.astype(int) - full[20:160, 80:200].astype(int)).max() <= 1


def test_large_photos_are_drawn_small_and_in_place():
    factor = 10
    large = Camera(
        torch.tensor([[2000.0, 0, 1199.5], [0, 2000.0, 899.5], [0, 0, 1]]), WIDTH * factor, HEIGHT * factor, "given"
    )
    photo = Image.new("RGB", (WIDTH * factor, HEIGHT * factor), (0, 200, 0))
    vertices, faces = capsule_figure(1)
    picture = draw_overlays(photo, vertices, faces, large, max_side=WIDTH)[0]
    small = draw_overlays(GREEN, vertices, faces, CAMERA)[0]
    assert picture.shape == small.shape
    assert np.abs(picture.astype(int) - small.astype(int)).max() <= 2
    assert max(draw_overlays(photo, vertices, faces, large)[0].shape) == 1024


def test_a_window_beyond_the_photo_is_filled_with_paper():
    picture, window = cut_photo(GREEN, (-20, -10, 60, 50))
    assert window == (-20, -10, 60, 50) and picture.shape == (60, 80, 3)
    assert (picture[:10] == PAPER).all() and (picture[:, :20] == PAPER).all()
    assert (picture[10:, 20:] == (0, 200, 0)).all()


def test_person_window_is_square_and_holds_the_box():
    left, top, right, bottom = person_window(torch.tensor([50.0, 20.0, 90.0, 150.0]), margin=0.1)
    assert right - left == bottom - top == 156
    assert left < 50 and top < 20 and right > 90 and bottom > 150
    with pytest.raises(InputError, match="box"):
        person_window(torch.tensor([50.0, 20.0, 50.0, 150.0]))


def test_the_nearer_person_hides_the_farther():
    near, faces = capsule_figure(1, place=(0.0, 0.0, 3.0))
    far = near + torch.tensor([0.05, 0.0, 1.0])
    for people, expected in ((torch.cat([near, far]), 0), (torch.cat([far, near]), 1)):
        middle = draw_people(GREEN, people, faces, CAMERA)[75, 119].astype(int)
        # Person 0 is blue, person 1 gold.
        assert (middle[2] > middle[0]) == (expected == 0)
    assert np.array_equal(draw_people(GREEN, near[:0], faces, CAMERA), GREEN)


def test_the_order_of_people_does_not_matter():
    near, faces = capsule_figure(1, place=(0.0, 0.0, 3.0))
    crowd = torch.cat([near + torch.tensor([0.12 * i, 0.0, 0.4 * i]) for i in range(4)])
    colors = [(1.0, 0.2, 0.2), (0.2, 1.0, 0.2), (0.2, 0.2, 1.0), (1.0, 1.0, 0.2)]
    expected = draw_people(GREEN, crowd, faces, CAMERA, colors=colors)
    for order in ([3, 1, 0, 2], [2, 3, 1, 0]):
        found = draw_people(GREEN, crowd[order], faces, CAMERA, colors=[colors[i] for i in order])
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
    with pytest.raises(InputError, match="3 colours are given for 4 people"):
        draw_people(GREEN, crowd, faces, CAMERA, colors=colors[:3])


def test_two_people_who_reach_through_each_other_hide_each_other_in_part():
    """Depth decides at each pixel, not for each person: two crossed slanting bodies each win on one side."""
    upright, faces = capsule_figure(1, place=(0.0, 0.0, 3.0))
    lean = (upright[..., 1:2] - upright[..., 1:2].mean()) * torch.tensor([0.0, 0.0, 0.5])
    crossed = torch.cat([upright + lean, upright - lean])
    picture = draw_people(GREEN, crossed, faces, CAMERA, colors=[(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]).astype(int)
    rows = np.nonzero(_body_pixels(picture, GREEN))[0]
    middle = int(upright[0, :, 1].mean() / 3.0 * 200 + 89.5)
    more_red = [int((p[..., 0] > 100).sum() - (p[..., 2] > 100).sum()) for p in (picture[:middle], picture[middle:])]
    assert rows.min() < middle < rows.max()
    # y points down: the upper half of the first leans towards the camera.
    assert more_red[0] > 100 and more_red[1] < -100


def test_a_body_is_faint_where_somebody_stands_in_front_and_only_there():
    body, faces = capsule_figure(1, place=(0.0, 0.0, 3.5))
    alone = draw_overlays(GREEN, body, faces, CAMERA)[0]
    nearer = body + torch.tensor([0.25, 0.0, -1.0])
    behind = body + torch.tensor([0.25, 0.0, 1.0])
    assert np.array_equal(draw_overlays(GREEN, body, faces, CAMERA, in_front=behind)[0], alone)
    assert np.array_equal(draw_overlays(GREEN, body, faces, CAMERA, in_front=body[:0])[0], alone)
    found = draw_overlays(GREEN, body, faces, CAMERA, in_front=nearer)[0]
    covered = _body_pixels(draw_overlays(GREEN, nearer, faces, CAMERA)[0], GREEN)
    core = draw_overlays(GREEN, nearer, faces, CAMERA, alpha=1.0)[0][..., 1] < 195  # away from the smooth outline
    both = covered & core & _body_pixels(alone, GREEN)
    assert both.sum() > 50
    faded = GREEN + HIDDEN_OPACITY * (alone.astype(float) - GREEN)
    assert np.abs(found[both] - faded[both]).mean() < 4
    assert np.array_equal(found[~covered], alone[~covered])
    # Two others in front are no more than the nearer of them.
    two = draw_overlays(GREEN, body, faces, CAMERA, in_front=torch.cat([behind, nearer]))[0]
    assert np.array_equal(two, found)


def test_side_views_share_one_scale():
    vertices, faces = capsule_figure(1)
    pair = torch.cat([vertices, (vertices - vertices.mean(1, keepdim=True)) * 0.5 + torch.tensor([3.0, 1.0, 9.0])])
    pictures = draw_side_views(pair, faces, (120, 100))
    assert pictures.shape == (2, 120, 100, 3)
    blank = np.full((120, 100, 3), PAPER, np.uint8)
    heights = [np.ptp(np.nonzero(_body_pixels(p, blank))[0]) for p in pictures]
    assert abs(heights[1] / heights[0] - 0.5) < 0.1


def test_the_camera_must_belong_to_the_image():
    vertices, faces = capsule_figure(1)
    with pytest.raises(InputError, match="240 x 180"):
        draw_overlays(GREEN[:100], vertices, faces, CAMERA)
