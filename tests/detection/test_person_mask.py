"""The low-resolution mask is an exact area average, whatever the resolution of its source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.detection.person_mask import PersonMask, mask_in_box
from hmralign.structures import MASK_SIZE, InputError


def supersampled(mask, box, size, per_cell=25):
    """The same shares by sampling points on the nearest cell of the source."""
    x0, y0, x1, y1 = box
    side = 1.25 * max(x1 - x0, y1 - y0)
    steps = ((np.arange(size * per_cell) + 0.5) / (size * per_cell) - 0.5) * side
    x, y = np.meshgrid((x0 + x1) / 2 + steps, (y0 + y1) / 2 + steps)
    left, top, right, bottom = mask.region
    rows, columns = mask.alpha.shape
    i = np.floor((y - top) / (bottom - top) * rows).astype(int)
    j = np.floor((x - left) / (right - left) * columns).astype(int)
    inside = (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
    values = np.where(inside, mask.alpha[i.clip(0, rows - 1), j.clip(0, columns - 1)] / 255, 0.0)
    return values.reshape(size, per_cell, size, per_cell).mean((1, 3))


coordinate = st.floats(-30, 60)


@settings(max_examples=30, deadline=None)
@given(coordinate, coordinate, st.floats(3, 80), st.floats(3, 80), st.integers(0, 2**31))
def test_agrees_with_dense_sampling(x, y, width, height, seed):
    alpha = np.random.default_rng(seed).integers(0, 256, (9, 13), dtype=np.uint8)
    mask = PersonMask(alpha, (2.0, -5.0, 40.0, 31.0))
    box = np.array([x, y, x + width, y + height], np.float32)
    np.testing.assert_allclose(mask_in_box(mask, box, 6), supersampled(mask, box.tolist(), 6), atol=0.06)


def test_total_area_is_kept_when_the_crop_holds_the_whole_person():
    pixels = np.zeros((50, 40), bool)
    pixels[12:33, 9:20] = True
    box = np.array([5, 8, 24, 37], np.float32)
    shares = mask_in_box(PersonMask.from_image(pixels), box, MASK_SIZE)
    cell = 1.25 * 29 / MASK_SIZE
    assert shares.shape == (MASK_SIZE, MASK_SIZE)
    assert shares.sum() * cell**2 == pytest.approx(pixels.sum(), rel=1e-5)


def test_zero_outside_the_image():
    mask = PersonMask.from_image(np.ones((20, 20), bool))
    shares = mask_in_box(mask, np.array([-10.5, -0.5, 9.5, 19.5], np.float32), 10)
    # The crop spans x from -13 to 12: the image begins in cell 5 of 10.
    assert (shares[2:8, :5] == 0).all() and np.allclose(shares[2:8, 5:], 1.0)


def test_full_image_round_trip():
    alpha = np.random.default_rng(0).integers(0, 256, (17, 23), dtype=np.uint8)
    np.testing.assert_array_equal(PersonMask.from_image(alpha).to_image(17, 23), alpha)


def test_bad_box_is_refused():
    mask = PersonMask.from_image(np.ones((4, 4), bool))
    for box in ([3, 0, 3, 0], [0, 0, np.nan, 2]):
        with pytest.raises(InputError, match="box"):
            mask_in_box(mask, np.array(box, np.float32), 4)
