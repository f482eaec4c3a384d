"""Cameras of crops against projection in the full image, and the code of where a crop lies."""

import torch

from hmralign.geometry.cameras import project
from hmralign.geometry.crop_camera import box_code, crop_translation


def test_a_crop_camera_draws_points_where_the_full_image_draws_them():
    """Crops of side b about c in images 640 x 480, with a long focal length, where perspective is weak."""
    draw = torch.Generator().manual_seed(1)
    center = torch.tensor([[100.0, 80.0], [320.0, 240.0], [600.0, 400.0]])
    side, focal = torch.tensor([120.0, 200.0, 90.0]), torch.tensor([50000.0, 40000.0, 60000.0])
    principal = torch.tensor([320.0, 240.0]).expand(3, 2)
    camera = torch.tensor([0.9, 0.05, -0.1]) + 0.1 * torch.randn(3, 3, generator=draw)
    points = 0.4 * torch.randn(3, 12, 3, generator=draw)
    T = crop_translation(camera, center, side, focal, principal)
    K = torch.zeros(3, 3, 3)
    K[:, [0, 1], [0, 1]], K[:, :2, 2], K[:, 2, 2] = focal[:, None].expand(3, 2), principal, 1.0
    full = project(points + T[:, None], K)
    scale = (side / 2 * camera[:, 0])[:, None, None]
    crop = center[:, None] + scale * (points[..., :2] + camera[:, None, 1:])
    assert float((full - crop).abs().max()) < 0.5  # pixels; points are up to 1 m deep, at 400 m and more


def test_the_code_of_a_box_is_the_published_formula():
    center, side = torch.tensor([400.0, 100.0]), torch.tensor(250.0)
    focal, principal = torch.tensor(1000.0), torch.tensor([320.0, 240.0])
    expected = [(400 - 320) / 1000 * 2.8, (100 - 240) / 1000 * 2.8, (250 - 0.24 * 1000) / (0.06 * 1000)]
    torch.testing.assert_close(box_code(center, side, focal, principal), torch.tensor(expected))


def test_the_code_does_not_depend_on_the_resolution():
    center, side = torch.tensor([[400.0, 100.0]]), torch.tensor([250.0])
    focal, principal = torch.tensor([1000.0]), torch.tensor([[320.0, 240.0]])
    once = box_code(center, side, focal, principal)
    torch.testing.assert_close(box_code(3 * center, 3 * side, 3 * focal, 3 * principal), once)
