"""Pixels as the encoders take them."""

from dataclasses import replace

import pytest
import torch

from hmralign.models.paper.image_input import encoder_input, require_crops, resized
from hmralign.structures import InputError
from support.tiny_paper import crops, seen_persons


def test_channels_are_standardised_in_their_own_order_or_in_the_other():
    crop = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    crop[:, 0], crop[:, 1], crop[:, 2] = 255, 51, 0
    own = encoder_input(crop, 8, bgr_constants=False)[0, :, 0, 0]
    torch.testing.assert_close(own, torch.tensor([(1 - 0.480) / 0.229, (0.2 - 0.457) / 0.224, -0.406 / 0.225]))
    theirs = encoder_input(crop, 8, bgr_constants=True)[0, :, 0, 0]
    torch.testing.assert_close(theirs, torch.tensor([(1 - 0.406) / 0.225, (0.2 - 0.457) / 0.224, -0.480 / 0.229]))


def test_resizing_keeps_the_edges_of_the_square():
    crop = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    crop[..., 4:] = 255
    assert (
        torch.equal(resized(crop, 4)[0, 0, 0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
        or (resized(crop, 4)[0, 0, 0] - torch.tensor([0.0, 0.0, 1.0, 1.0])).abs().max() < 0.2
    )
    torch.testing.assert_close(resized(crop, 4).mean(), torch.tensor(0.5))
    same = crops(2)
    torch.testing.assert_close(resized(same, same.shape[-1]) * 255, same.float())


def test_persons_without_pixels_are_refused():
    seen = seen_persons().observation
    assert require_crops(seen) is seen.crop
    some = replace(seen, has_crop=torch.tensor([True, True, False, True]))
    for blind in (replace(seen, crop=None, has_crop=None), some):
        with pytest.raises(InputError, match="looks at pixels"):
            require_crops(blind)
