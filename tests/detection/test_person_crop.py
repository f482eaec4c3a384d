"""The pixels around a person lie where the crop's camera says, black outside the photo, whatever the box."""

import math

import numpy as np
import pytest
import torch

from hmralign.data.images import load_image
from hmralign.detection.find_people import people_from_array
from hmralign.detection.observe import camera_of, observe
from hmralign.detection.person_crop import crop_of, with_crops
from hmralign.geometry.cameras import apply_affine, crop_affine
from hmralign.structures import InputError
from support.recover_example import example_photo


def _ramp(height: int, width: int) -> np.ndarray:
    """A photo whose red is its column and green its row."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = np.arange(width), np.arange(height)[:, None]
    rgb[..., 2] = 200
    return rgb


@pytest.mark.parametrize(
    "box",
    [[60.0, 40.0, 120.0, 160.0], [-30.0, 20.0, 50.0, 90.0], [150.0, 150.0, 260.0, 230.0], [10.3, 7.7, 51.9, 40.2]],
)
def test_pixels_lie_where_the_crops_camera_says(box):
    side, photo = 48, _ramp(200, 220)
    crop = crop_of(photo, box, side).float()
    _, back = crop_affine(torch.tensor(box), side)
    rows, columns = torch.meshgrid(torch.arange(4, side - 4.0), torch.arange(4, side - 4.0), indexing="ij")
    pixels = apply_affine(back, torch.stack([columns, rows], -1).reshape(-1, 2)).reshape(*rows.shape, 2)
    inside = (pixels > 3).all(-1) & (pixels[..., 0] < 216) & (pixels[..., 1] < 196)
    seen = crop[:, 4:-4, 4:-4]
    assert (seen[0] - pixels[..., 0]).abs()[inside].max() < 1.5
    assert (seen[1] - pixels[..., 1]).abs()[inside].max() < 1.5
    outside = (pixels < -4).any(-1) | (pixels[..., 0] > 224) | (pixels[..., 1] > 204)
    assert (seen[2][outside] == 0).all()


@pytest.mark.parametrize("box", [[1e4, 1e4, 1e4 + 5.0, 1e4 + 9.0], [-1e7, -1e7, 1e7, 1e7], [5.0, 5.0, 5.01, 5.01]])
def test_boxes_far_away_huge_and_tiny_cost_nothing_and_give_a_crop(box):
    assert crop_of(_ramp(50, 60), box, 32).shape == (3, 32, 32)


@pytest.mark.parametrize(
    "box", [[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 3.0, 3.0], [0.0, 0.0, math.nan, 5.0], [0.0, 0.0, math.inf, 5.0]]
)
def test_an_empty_box_is_named(box):
    with pytest.raises(InputError, match="no crop can be cut"):
        crop_of(_ramp(20, 20), box, 16)


def test_only_who_asks_gets_pixels():
    image = load_image(example_photo()[0])
    seen = observe(people_from_array(example_photo()[1][None])[0], camera_of(image))
    assert with_crops(seen, image.rgb, None).crop is None
    crops = with_crops(seen, image.rgb, 32)
    assert crops.crop is not None and crops.crop.shape == (3, 32, 32) and bool(crops.has_crop)
    for side in (0, -1, 100_000):
        with pytest.raises(InputError, match="crops of"):
            with_crops(seen, image.rgb, side)
