"""The ring shows a body from all sides, and says where its points fall in each of them."""

import pytest
import torch

from hmralign.rendering.ring import RingCameras, body_centre
from hmralign.rendering.views import side_view
from hmralign.structures import InputError
from hmralign.structures.multi_views import MultiViews
from support.capsule_figure import capsule_figure

RING = RingCameras(size=32)


def figure(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, faces = capsule_figure(count)
    return torch.as_tensor(vertices).float(), torch.as_tensor(faces)


def test_points_of_the_surface_fall_on_the_mask_in_every_view():
    vertices, faces = figure()
    views = RING.render(vertices, faces)
    assert views.pixels.shape == (2, 4, 4, 32, 32)
    pixels, _ = RING.project(vertices, body_centre(vertices))
    column, row = pixels.round().long().clamp(0, 31).unbind(-1)
    person, view = torch.arange(2)[:, None, None], torch.arange(4)[None, :, None]
    assert (views.mask[person, view, row, column] > 0).float().mean() > 0.96  # the rest just touches its pixel
    exchanged = views.mask[:, [0, 3, 2, 1]]
    assert (exchanged[person, view, row, column] > 0).float().mean() < 0.95  # sides the wrong way round are seen


def test_the_mask_is_as_wide_and_as_high_as_the_body_projects():
    vertices, faces = figure(1)
    mask = RING.render(vertices, faces).mask[0]  # (V, h, w)
    pixels, _ = RING.project(vertices, body_centre(vertices))
    across = pixels[0].amax(1) - pixels[0].amin(1)  # (V, 2)
    for view in range(4):
        widest = mask[view].amax(0)[mask[view].amax(0) > 0]
        assert abs(float(widest.sum()) - float(across[view, 0])) < 1.6
        assert abs(int((mask[view].amax(1) > 0).sum()) - float(across[view, 1])) < 2


def test_views_turn_as_side_views_do():
    vertices, faces = figure(1)
    once = RING.render(side_view(vertices), faces).pixels
    torch.testing.assert_close(once[:, 0], RING.render(vertices, faces).pixels[:, 1], atol=0.12, rtol=0)


def test_opposite_views_have_mirrored_masks_and_normals_face_each_camera():
    vertices, faces = figure()
    views = RING.render(vertices, faces)
    front, back = views.mask[:, 0], views.mask[:, 2].flip(-1)
    assert (front - back).abs().mean() < 0.01
    inside = views.mask > 0.99
    assert (views.normals[:, :, 2][inside] < 0).float().mean() > 0.99
    lengths = views.normals.norm(dim=2)
    assert float(lengths.max()) <= 1 + 1e-5
    assert bool((lengths[views.mask == 0] == 0).all())


def test_the_mirrored_body_has_the_mirrored_views():
    vertices, faces = figure()
    mirrored = vertices * torch.tensor([-1.0, 1.0, 1.0])
    views = RING.render(mirrored, faces.flip(-1))  # winding keeps the outside outside
    close = (views.pixels - RING.render(vertices, faces).mirrored().pixels).abs()
    assert close.mean() < 1e-3
    twice = RING.render(vertices, faces).mirrored().mirrored()
    torch.testing.assert_close(twice.pixels, RING.render(vertices, faces).pixels)


def test_depth_and_pixels_hold_the_point():
    """Pixels of one view and its depth give the point back; the front's axes are the photo's."""
    points = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    centre = points.mean(1)
    pixels, depth = RING.project(points, centre)
    metres = torch.cat([(pixels - 15.5) / RING.pixels_per_metre, depth[..., None]], -1)
    back = metres @ RING.rotations
    torch.testing.assert_close(back, (points - centre[:, None])[:, None].expand(3, 4, 5, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(RING.rotations[0], torch.eye(3))


def test_a_body_that_sticks_out_is_told():
    vertices, _ = figure(1)
    centre = body_centre(vertices)
    assert RING.cut(vertices, centre) == 0
    assert RingCameras(extent=1.0).cut(vertices, centre) > 0.1


def test_place_does_not_matter():
    vertices, faces = figure(1)
    moved = vertices + torch.tensor([1.0, -2.0, 5.0])
    torch.testing.assert_close(RING.render(vertices, faces).pixels, RING.render(moved, faces).pixels, atol=0.05, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"azimuths": (0.0,)}, {"azimuths": (90.0, 0.0)}, {"azimuths": (0.0, 90.0, 450.0)}, {"extent": 0.0},
        {"extent": float("nan")}, {"size": 1}, {"supersampling": 0}, {"azimuths": (0.0, float("inf"))},
    ],
)  # fmt: skip
def test_rings_that_show_nothing_are_refused(wrong):
    with pytest.raises(InputError):
        RingCameras(**wrong)


def test_records_of_views_are_joined_and_indexed():
    views = MultiViews(torch.zeros(3, 4, 4, 8, 8))
    assert MultiViews.cat([views, views[:1]]).pixels.shape[0] == 4
    assert views.num_views == 4 and views.front.shape == (3, 4, 8, 8)
