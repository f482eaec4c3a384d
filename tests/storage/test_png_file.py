"""A picture comes back from its file as it was."""

import numpy as np
import pytest
from PIL import Image

from hmralign.storage.png_file import png_bytes, write_png


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (33, 50)])
@pytest.mark.parametrize("kind", ["noise", "flat", "slope"])
def test_every_pixel_comes_back(tmp_path, size, kind):
    height, width = size
    picture = {
        "noise": np.random.default_rng(0).integers(0, 256, (*size, 3)),
        "flat": np.full((*size, 3), (3, 200, 255)),
        "slope": np.arange(height * width * 3).reshape(*size, 3) % 256,
    }[kind].astype(np.uint8)
    path = write_png(tmp_path / "new" / "a.png", picture)
    with Image.open(path, formats=["PNG"]) as back:
        assert back.mode == "RGB" and back.size == (width, height)
        assert np.array_equal(np.asarray(back), picture)
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_a_part_of_a_larger_picture_is_a_picture():
    whole = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert png_bytes(whole[5:15, 3:9]) == png_bytes(whole[5:15, 3:9].copy())
