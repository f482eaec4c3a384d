"""Cameras that look at synthetic persons."""

import math

import pytest
import torch

from hmralign.data.synthetic.views import ViewMix, sample_views
from hmralign.geometry.cameras import project
from support.synthetic_persons import seeded

N = 4000
UPRIGHT = torch.tensor([0.0, 1.0, 0.0]).expand(N, 3)
MIX = ViewMix()


@pytest.fixture(scope="module")
def views():
    return sample_views(UPRIGHT, MIX, seeded(0))


def test_people_stand_in_front_of_the_camera_at_the_least_distance(views):
    assert views.transl[:, 2].min() >= MIX.min_distance and torch.isfinite(views.transl).all()


def test_orientations_are_rotations(views):
    eye = torch.eye(3).expand(N, 3, 3)
    torch.testing.assert_close(views.global_orient @ views.global_orient.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(views.global_orient), torch.ones(N), atol=1e-5, rtol=0)


def test_people_turn_every_way_equally_often(views):
    forward = views.global_orient[:, :, 2]
    yaw = torch.atan2(forward[:, 0], -forward[:, 2])
    counts = torch.histc(yaw, bins=8, min=-math.pi, max=math.pi)
    assert (counts / N - 1 / 8).abs().max() < 0.02


def test_upright_people_are_upright_in_the_photo_unless_the_camera_is_steep(views):
    up = views.global_orient[:, :, 1]
    assert (up[:, 1] < -0.8).float().mean() > 0.85, "up is -y in a photo"
    assert 0.03 < (up[:, 1] > -0.7).float().mean() < 0.12, "some cameras look from high above or from below"
    assert (up[:, 2] < -0.5).float().mean() > 1.3 * (up[:, 2] > 0.5).float().mean(), "more of them from above"


def test_the_up_direction_is_that_of_the_pose():
    """A person bent face down by 90 degrees: the back (-z of the pelvis) is up in a level camera's photo."""
    level = ViewMix(pitch_sd=0.0, steep_share=0.0, roll_sd=0.0)
    views = sample_views(torch.tensor([0.0, 0.0, -1.0]).expand(50, 3), level, seeded(1))
    back = -views.global_orient[:, :, 2]
    tilt = math.radians(5)
    torch.testing.assert_close(back[:, 1], torch.full((50,), -math.cos(tilt)), atol=1e-5, rtol=0)
    torch.testing.assert_close(back[:, 0], torch.zeros(50), atol=1e-5, rtol=0)


def test_intrinsics_are_those_of_an_image_of_1000_pixels(views):
    K = views.K
    assert torch.maximum(views.width, views.height).unique().tolist() == [1000]
    assert torch.minimum(views.width, views.height).min() >= 560
    torch.testing.assert_close(K[:, :2, 2], (torch.stack([views.width, views.height], 1) - 1) / 2)
    focal = K[:, 0, 0] / torch.hypot(views.width, views.height)
    assert torch.equal(K[:, 0, 0], K[:, 1, 1])
    assert focal.min() >= 0.549 and focal.max() <= 2.501 and 0.9 < focal.median() < 1.5
    assert 0.55 < (views.width > views.height).float().mean() < 0.65
    zero = K.clone()
    zero[:, [0, 1, 0, 1], [0, 1, 2, 2]] = 0
    assert torch.equal(zero, torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, 1]]).expand(N, 3, 3))


def test_people_are_near_the_middle_and_of_the_wanted_size(views):
    pixel = project(views.transl[:, None], views.K)[:, 0] / torch.stack([views.width, views.height], 1)
    assert pixel.min() > -0.11 and pixel.max() < 1.11
    assert (pixel.mean(0) - 0.5).abs().max() < 0.02
    size = 1.7 * views.K[:, 1, 1] / views.transl[:, 2] / views.height
    nearest = views.transl[:, 2] <= MIX.min_distance + 1e-6
    assert size[~nearest].min() > 0.199 and size[~nearest].max() < 1.301 and nearest.float().mean() < 0.1


def test_the_generator_decides(views):
    again, other = (sample_views(UPRIGHT, MIX, seeded(s)) for s in (0, 1))
    for name in ("K", "width", "height", "global_orient", "transl"):
        assert torch.equal(getattr(again, name), getattr(views, name))
    assert not torch.equal(other.transl, views.transl)


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_people_stand_about_the_middle_by_as_much_as_is_said(spread):
    seen = sample_views(UPRIGHT, ViewMix(place_sd=spread), seeded(1))
    pixels = project(seen.transl[:, None], seen.K)[:, 0]
    place = pixels / torch.stack([seen.width, seen.height], 1) - 0.5
    torch.testing.assert_close(place.mean(0), torch.zeros(2), atol=0.005, rtol=0)
    torch.testing.assert_close(place.std(0), torch.full((2,), spread), atol=1e-4 + 0.05 * spread, rtol=0)
