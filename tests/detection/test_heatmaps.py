"""Regions of boxes and peaks of heatmaps: known places come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.detection.heatmaps import LARGEST_STEP, cells_to_pixels, decode_heatmaps, region_of_box

GRID = (64, 48)


def gaussians(places, sigma=2.0, height=0.8):
    """Heatmaps (person, kp, 64, 48) with a peak of the training targets' shape at each place (column, row)."""
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    x, y = places[..., 0, None, None], places[..., 1, None, None]
    return height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


@settings(max_examples=50, deadline=None)
@given(st.floats(6, 41), st.floats(6, 57), st.floats(1.5, 3.0), st.floats(0.1, 1.2))
def test_a_peak_comes_back_between_cells(x, y, sigma, height):
    places, peaks = decode_heatmaps(gaussians(np.array([[[x, y]]]), sigma, height))
    np.testing.assert_allclose(places[0, 0], [x, y], atol=0.02)
    assert 0.8 * height < peaks[0, 0] <= height


def test_a_peak_near_the_edge_is_off_by_less_than_half_a_cell():
    places = np.stack(np.meshgrid(np.arange(0.0, 47.3, 0.7), np.arange(0.0, 63.3, 0.7)), -1).reshape(1, -1, 2)
    got, _ = decode_heatmaps(gaussians(places))
    assert np.abs(got - places).max() <= 0.5


def test_the_library_says_the_same_of_clean_peaks():
    vitpose = pytest.importorskip("transformers.models.vitpose.image_processing_pil_vitpose")
    places = np.random.default_rng(0).uniform((8, 8), (39, 55), (3, 17, 2))
    heatmaps = gaussians(places).astype(np.float32)
    coarse, scores = vitpose.get_keypoint_predictions(heatmaps)
    theirs = vitpose.post_dark_unbiased_data_processing(coarse, heatmaps, kernel=11)
    ours, peaks = decode_heatmaps(heatmaps)
    np.testing.assert_allclose(ours, theirs, atol=0.05)
    np.testing.assert_allclose(peaks, scores[..., 0])
    box = np.array([30.0, 20.0, 90.0, 220.0])
    centre, scale = vitpose.box_to_center_and_scale((30.0, 20.0, 60.0, 200.0), 192, 256)
    pixels = vitpose.transform_preds(theirs[0], centre, scale, GRID)
    np.testing.assert_allclose(cells_to_pixels(theirs[0], region_of_box(box, 0.75), GRID), pixels, atol=1e-3)


@pytest.mark.parametrize("kind", ["flat", "noise", "two peaks", "negative"])
def test_no_clean_peak_is_never_far_from_the_highest_cell(kind):
    rng = np.random.default_rng(1)
    heatmaps = {
        "flat": np.full((2, 3, *GRID), 0.4),
        "noise": rng.normal(size=(2, 3, *GRID)),
        "two peaks": gaussians(np.full((2, 3, 2), 20.2)) + gaussians(np.full((2, 3, 2), 24.9)),
        "negative": -1 - rng.random((2, 3, *GRID)),
    }[kind]
    places, peaks = decode_heatmaps(heatmaps)
    assert np.isfinite(places).all()
    row, column = np.divmod(heatmaps.reshape(2, 3, -1).argmax(-1), GRID[1])
    assert np.abs(places - np.stack([column, row], -1)).max() <= LARGEST_STEP
    np.testing.assert_array_equal(peaks, heatmaps.max((-1, -2)))


def test_mirrored_heatmaps_have_mirrored_peaks():
    places = np.random.default_rng(2).uniform((2, 2), (45, 61), (2, 17, 2))
    straight, _ = decode_heatmaps(gaussians(places))
    mirrored, _ = decode_heatmaps(gaussians(places)[..., ::-1])
    np.testing.assert_allclose(mirrored, [GRID[1] - 1, 0] + straight * [-1, 1], atol=1e-6)


@given(st.floats(-50, 300), st.floats(-50, 300), st.floats(2, 400), st.floats(2, 400))
def test_the_region_holds_the_box_in_the_middle_and_has_the_aspect(x, y, width, height):
    centre_x, centre_y, w, h = region_of_box(np.array([x, y, x + width, y + height]), 0.75)
    assert (centre_x, centre_y) == pytest.approx((x + width / 2, y + height / 2))
    assert w / h == pytest.approx(0.75)
    assert max(width / w, height / h) == pytest.approx(1 / 1.25)
