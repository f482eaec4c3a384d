"""Views turn bodies the documented way and frame them; window cameras see what the cut-out picture shows."""

import math

import pytest
import torch

from hmralign.geometry.cameras import project
from hmralign.rendering.views import body_up, framed, side_view, top_view, turned, window_camera
from hmralign.structures import InputError
from support.capsule_figure import capsule_figure


def _with_nose() -> torch.Tensor:
    """A body with a marker in front of its head (towards the camera) and one at its right hand."""
    return torch.tensor([[[0.0, -0.8, 3.0], [0.0, 0.8, 3.0], [0.0, -0.7, 2.8], [-0.5, 0.0, 3.0], [0.5, 0.0, 3.2]]])


def test_side_view_shows_the_right_side_of_a_person_who_faces_the_camera():
    turned_body = side_view(_with_nose())[0] - side_view(_with_nose())[0].mean(0)
    nose, right_hand, left_hand = turned_body[2], turned_body[3], turned_body[4]
    assert nose[0] > 0.1  # looks to the right edge of the picture
    assert right_hand[2] < left_hand[2]  # the right hand is the nearer one


def test_top_view_looks_down_on_the_head():
    seen = top_view(_with_nose())[0]
    assert seen[0, 2] < seen[1, 2]  # the head is nearer than the feet
    assert seen[2, 1] > seen[0, 1]  # the nose points to the lower edge
    assert seen[3, 0] < seen[4, 0]  # left stays left: seen, not mirrored


def test_turning_is_rigid_and_four_quarters_are_none():
    vertices, _ = capsule_figure(3)
    axis = torch.tensor([[0.1, -1.0, 0.2]])
    back = vertices
    for _ in range(4):
        back = side_view(back, up=axis, degrees=90.0)
    # The middle of the bounding box moves a little with the body, so positions are compared after centring.
    centred = lambda v: v - v.mean(1, keepdim=True)  # noqa: E731
    torch.testing.assert_close(centred(back), centred(vertices), atol=1e-5, rtol=0)
    once = turned(vertices, axis, 0.7)
    distances = [
        torch.cdist(v, v, compute_mode="donot_use_mm_for_euclid_dist") for v in (once[:, :50], vertices[:, :50])
    ]
    torch.testing.assert_close(distances[0], distances[1], atol=1e-5, rtol=0)


def test_up_of_an_upright_person_is_up_in_the_picture():
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(body_up(upright), torch.tensor([0.0, -1.0, 0.0]))
    vertices, _ = capsule_figure()
    torch.testing.assert_close(side_view(vertices, up=body_up(upright)[None]), side_view(vertices))


@pytest.mark.parametrize("size", [(64, 64), (50, 120), (200, 90)])
def test_framed_bodies_fill_the_picture_and_stay_inside(size):
    vertices, _ = capsule_figure(4, spread=0.15)
    placed, K = framed(vertices, size, margin=0.1)
    pixels = project(placed, K)
    height, width = size
    assert pixels[..., 0].min() >= 0.09 * width - 0.5 and pixels[..., 0].max() <= 0.91 * width - 0.5
    assert pixels[..., 1].min() >= 0.09 * height - 0.5 and pixels[..., 1].max() <= 0.91 * height - 0.5
    extent = (pixels.amax((0, 1)) - pixels.amin((0, 1))) / torch.tensor([width, height])
    assert extent.max() > 0.6
    torch.testing.assert_close(placed.diff(dim=1), vertices.diff(dim=1), atol=1e-5, rtol=0)


def test_framing_nothing_is_refused():
    with pytest.raises(InputError, match="no body"):
        framed(torch.zeros(0, 5, 3), (10, 10))


def test_a_window_camera_maps_pixel_borders_to_pixel_borders():
    K = torch.tensor([[500.0, 2.0, 320.0], [0, 480.0, 240.0], [0, 0, 1]])
    window, size = (100, 60, 300, 160), (50, 80)
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.2 + torch.tensor([0, 0, 3.0])
    pixels = project(points, K)
    scale = torch.tensor([80 / 200, 50 / 100])
    expected = (pixels + 0.5 - torch.tensor([100.0, 60.0])) * scale - 0.5
    torch.testing.assert_close(project(points, window_camera(K, window, size)), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(window_camera(K, (0, 0, 640, 480), (480, 640)), K)
    with pytest.raises(InputError, match="window"):
        window_camera(K, (10, 10, 10, 20), size)


def test_degrees_are_degrees():
    vertices, _ = capsule_figure()
    torch.testing.assert_close(
        side_view(vertices, degrees=30.0), turned(vertices, torch.tensor([[0.0, -1.0, 0.0]]), math.pi / 6)
    )
