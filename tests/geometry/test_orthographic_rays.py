"""Points are found again from where orthographic cameras see them."""

import pytest
import torch

from hmralign.geometry.orthographic_rays import points_from_views
from hmralign.geometry.rotations import axis_rotmat
from hmralign.structures import InputError
from support.synthetic_persons import seeded

RING = axis_rotmat("y", torch.deg2rad(torch.tensor([0.0, 90.0, 180.0, 270.0])))


def seen_by(points, rotations):
    return torch.einsum("vij,npj->nvpi", rotations, points)[..., :2]


def test_points_come_back():
    points = torch.randn(5, 7, 3, generator=seeded(0))
    found = points_from_views(seen_by(points, RING), RING)
    torch.testing.assert_close(found, points, atol=1e-5, rtol=1e-5)
    two = RING[:2]
    torch.testing.assert_close(points_from_views(seen_by(points, two), two), points, atol=1e-5, rtol=1e-5)


def test_a_view_that_is_not_believed_does_not_count():
    points = torch.randn(3, 4, 3, generator=seeded(1))
    seen, weights = seen_by(points, RING), torch.ones(3, 4, 4)
    seen[:, 2] += 5.0
    weights[:, 2] = 0.0
    off = (points_from_views(seen, RING, weights) - points).abs().max()
    assert off < 1e-2 < (points_from_views(seen, RING) - points).abs().max()


def test_it_is_the_least_squares_point():
    """The oracle minimises the weighted misfit by a general solver."""
    draw = seeded(2)
    seen, weights = torch.randn(1, 4, 1, 2, generator=draw), torch.rand(1, 4, 1, generator=draw) + 0.1
    rows = (weights[0, :, 0, None, None].sqrt() * RING[:, :2]).flatten(0, 1)
    right = (weights[0, :, 0, None].sqrt() * seen[0, :, 0]).flatten()
    expected = torch.linalg.lstsq(rows, right[:, None]).solution[:, 0]
    torch.testing.assert_close(points_from_views(seen, RING, weights)[0, 0], expected, atol=1e-4, rtol=1e-4)


def test_views_along_one_line_say_nothing_of_depth():
    for rotations in (RING[:1], RING[[0, 2]]):
        with pytest.raises(InputError, match="one line"):
            points_from_views(torch.zeros(1, len(rotations), 3, 2), rotations)
