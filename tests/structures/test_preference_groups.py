from dataclasses import replace

import pytest
import torch

from hmralign.structures import BodyParams, Hypotheses, InputError, Landmarks3d, PreferenceGroups
from support.synthetic_persons import persons


def groups(n: int = 3, size: int = 4) -> PreferenceGroups:
    example = persons(n)
    truth = example.annotation
    bodies = Hypotheses(BodyParams.stack([truth.body] * size, dim=1), torch.stack([truth.joints] * size, dim=1))
    landmarks = Landmarks3d(torch.zeros(n, 27, 3), torch.ones(n, 27))
    ids = tuple(f"person/{i}" for i in range(n))
    return PreferenceGroups(
        ids, torch.zeros(n, size, 7), bodies, replace(example, landmarks3d=landmarks), (b"jpeg",) * n, torch.zeros(n, 4)
    )


def test_groups_count_their_persons():
    assert len(groups()) == 3
    assert len(PreferenceGroups(groups().ids, None, groups().hypotheses, groups().example)) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": ("a", "b")}, "2 names for 3 groups"),
        ({"hypotheses": groups(2).hypotheses}, "3 names for 2 groups"),
        ({"example": groups(2).example}, "names for 3 groups"),
        ({"x_0": torch.zeros(2, 4, 7), "crop_windows": None}, "not of the same groups"),
        ({"x_0": torch.zeros(3, 5, 7)}, "not of the same groups"),
        ({"crops": (None, None)}, "2 pictures for 3 groups"),
        ({"crop_windows": torch.zeros(4, 4), "x_0": None}, "4 windows of pictures for 3 groups"),
        ({"example": replace(groups().example, landmarks3d=groups(2).example.landmarks3d)}, "landmarks of 2 persons"),
        ({"example": replace(groups().example, annotation=groups(2).example.annotation)}, "annotations of 2 persons"),
    ],
)
def test_parts_of_other_persons_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        replace(groups(), **change)
