"""A detector's points in a named convention, brought into the package's order."""

import numpy as np
import pytest

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.detection.keypoint_conventions import FLAT_CONVENTIONS, OPENPOSE_CONVENTIONS, in_our_order
from hmralign.structures import InputError


@pytest.mark.parametrize("layout", [*FLAT_CONVENTIONS, *OPENPOSE_CONVENTIONS], ids=lambda c: f"{c.name}_{c.count}")
def test_every_point_goes_where_its_name_stands_and_what_is_lacking_is_unseen(layout):
    points = np.stack([np.arange(layout.count), 2 * np.arange(layout.count), np.full(layout.count, 0.5)], -1)
    ours = in_our_order(points, layout.name)
    for row, name in zip(ours, KEYPOINT_NAMES, strict=True):
        place = layout.place.get(name)
        assert row.tolist() == ([0, 0, 0] if place is None else [place, 2 * place, 0.5])
    points[:, 2] = 0
    assert not in_our_order(points, layout.name).any(), "what is unseen is nowhere"


def test_wrong_conventions_are_named():
    with pytest.raises(InputError, match="no convention 'mpii'; expected coco17"):
        in_our_order(np.zeros((17, 3)), "mpii")
    with pytest.raises(InputError, match=r"shape \(18, 3\); coco17 has 17"):
        in_our_order(np.zeros((18, 3)), "coco17")
    with pytest.raises(InputError, match="has 23 or 133"):
        in_our_order(np.zeros((17, 3)), "coco_wholebody")
