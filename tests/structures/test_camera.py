import pytest
import torch

from hmralign.structures import Camera


@pytest.mark.parametrize(("source", "known"), [("given", True), ("exif", True), ("estimated", False)])
def test_a_guess_is_not_known(source, known):
    assert Camera(torch.eye(3), 640, 480, source).known == known
