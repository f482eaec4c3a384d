"""Distorting and undistorting undo each other, and no coefficients change nothing."""

import pytest
import torch

from hmralign.geometry.lens import distort, distorted_pixels, undistort, undistorted_pixels
from hmralign.structures import InputError


def test_round_trip_and_identity():
    draw = torch.Generator().manual_seed(0)
    points = (torch.rand(3, 50, 2, generator=draw, dtype=torch.float64) - 0.5) * 1.2
    strength = torch.tensor([0.2, 0.05, 0.005, 0.005], dtype=torch.float64)
    coefficients = (torch.rand(3, 4, generator=draw, dtype=torch.float64) - 0.5) * strength
    torch.testing.assert_close(undistort(distort(points, coefficients), coefficients), points, atol=1e-9, rtol=0)
    torch.testing.assert_close(distort(points, torch.zeros(3, 4, dtype=torch.float64)), points)
    K = torch.tensor([[700.0, 0, 300], [0, 690.0, 400], [0, 0, 1]], dtype=torch.float64).expand(3, 3, 3)
    pixels = points * 700 + 350
    back = undistorted_pixels(distorted_pixels(pixels, K, coefficients), K, coefficients)
    torch.testing.assert_close(back, pixels, atol=1e-5, rtol=0)


def test_matches_the_formula_at_one_point_written_out():
    k1, k2, p1, p2, x, y = 0.1, -0.02, 0.003, -0.004, 0.4, -0.3
    r2 = x * x + y * y
    expected = [
        x * (1 + k1 * r2 + k2 * r2**2) + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
        y * (1 + k1 * r2 + k2 * r2**2) + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y,
    ]
    found = distort(torch.tensor([[x, y]]), torch.tensor([k1, k2, p1, p2]))
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_a_model_that_cannot_be_inverted_is_refused():
    with pytest.raises(InputError, match="cannot be undone"):
        undistort(torch.tensor([[1.5, 1.5]]), torch.tensor([-0.9, 0.0, 0.0, 0.0]))
