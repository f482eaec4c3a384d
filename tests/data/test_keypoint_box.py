"""The box of the confident keypoints."""

import pytest
import torch

from hmralign.data.keypoint_box import MIN_CONFIDENCE, keypoint_box


def points(**at):
    """27 keypoints far away and unseen, but for those given as k0=(x, y, confidence)."""
    keypoints, confidence = torch.full((27, 2), 9e4), torch.zeros(27)
    for name, (x, y, c) in at.items():
        keypoints[int(name[1:])] = torch.tensor([x, y])
        confidence[int(name[1:])] = c
    return keypoints, confidence


def box(**at):
    return keypoint_box(*points(**at)).tolist()


def test_unseen_keypoints_do_not_count():
    assert box(k0=(10.0, 20.0, 0.9), k5=(30.0, 80.0, 0.9)) == [10, 20, 30, 80]


def test_doubtful_keypoints_do_not_count_while_two_are_sure():
    assert box(k0=(10.0, 20.0, 0.9), k5=(30.0, 80.0, 0.9), k7=(500.0, 500.0, 0.2)) == [10, 20, 30, 80]


def test_the_threshold_itself_is_doubtful():
    assert box(k0=(10.0, 20.0, 0.9), k5=(30.0, 80.0, 0.9), k7=(500.0, 0.0, MIN_CONFIDENCE)) == [10, 20, 30, 80]


def test_with_one_sure_keypoint_every_seen_one_counts():
    assert box(k0=(10.0, 20.0, 0.9), k5=(30.0, 80.0, 0.1)) == [10, 20, 30, 80]


def test_a_single_keypoint_has_a_box_of_one_pixel():
    assert box(k3=(10.0, 20.0, 0.5)) == [9.5, 19.5, 10.5, 20.5]


def test_keypoints_on_a_line_have_a_box_one_pixel_wide():
    assert box(k0=(10.0, 20.0, 1.0), k1=(10.0, 90.0, 1.0)) == [9.5, 20, 10.5, 90]


def test_nobody_has_a_box_of_one_pixel_at_the_origin():
    assert box() == [-0.5, -0.5, 0.5, 0.5]


def test_coordinates_of_unseen_keypoints_may_be_anything():
    keypoints, confidence = points(k0=(10.0, 20.0, 0.9), k5=(30.0, 80.0, 0.9))
    keypoints[7] = torch.tensor([float("nan"), float("inf")])
    assert keypoint_box(keypoints, confidence).tolist() == [10, 20, 30, 80]


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_batches_are_loops(shape):
    generator = torch.Generator().manual_seed(0)
    keypoints = 500 * torch.rand(*shape, 27, 2, generator=generator)
    confidence = torch.rand(*shape, 27, generator=generator) * (torch.rand(*shape, 27, generator=generator) < 0.3)
    got = keypoint_box(keypoints, confidence)
    each = [keypoint_box(k, c) for k, c in zip(keypoints.view(-1, 27, 2), confidence.view(-1, 27), strict=True)]
    assert torch.equal(got, torch.stack(each).view(*shape, 4))


def test_it_moves_and_grows_with_the_photo():
    keypoints = 500 * torch.rand(5, 27, 2, generator=torch.Generator().manual_seed(1))
    confidence = torch.rand(5, 27, generator=torch.Generator().manual_seed(2))
    moved = keypoint_box(2 * keypoints + 30, confidence)
    torch.testing.assert_close(moved, 2 * keypoint_box(keypoints, confidence) + 30)
