"""The picture of a person who is to be described, as it is and mirrored."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.overlays.described_person import PersonPicture, person_jpeg
from hmralign.structures import InputError, Observation


def observation(box):
    return Observation(
        torch.zeros(27, 2), torch.zeros(27), torch.tensor(box), torch.eye(3), torch.tensor(True), torch.zeros(48, 48),
        torch.tensor(False),
    )  # fmt: skip


def pixels(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)


def test_the_mirrored_picture_is_the_mirror_image():
    photo = np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    seen, style = observation([100.0, 100.0, 400.0, 420.0]), PersonPicture(side=128, quality=95)
    plain = person_jpeg(photo, seen, style)
    assert plain == person_jpeg(photo, seen, style)
    mirrored = person_jpeg(photo, seen, style, mirrored=True)
    assert np.abs(pixels(plain)[:, ::-1] - pixels(mirrored)).mean() < 3


def test_the_person_has_a_red_box_unless_it_is_not_wanted():
    photo = np.full((300, 300, 3), 128, np.uint8)
    seen = observation([100.0, 100.0, 200.0, 200.0])

    def red(**style):
        found = pixels(person_jpeg(photo, seen, PersonPicture(side=128, **style)))
        return int(((found[..., 0] > 180) & (found[..., 1] < 90)).sum())

    assert red() > 200 and red(outline=False) == 0


@pytest.mark.parametrize("wrong", [{"side": 100}, {"side": 32}, {"quality": 0}])
def test_sizes_that_no_model_reads_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        PersonPicture(**wrong)
