"""Strips of views: every view in its place, skeletons over them where joints are."""

import numpy as np
import torch

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.overlays.view_strips import view_strip, with_skeletons


def test_views_stand_side_by_side_over_white():
    views = torch.zeros(3, 4, 8, 8)
    views[1, 3, 2, 5] = 1.0  # seen
    views[1, 2, 2, 5] = -1.0  # towards the camera
    strip = view_strip(views, scale=2)
    assert strip.shape == (16, 48, 3) and strip.dtype == np.uint8
    np.testing.assert_array_equal(strip[4, 16 + 10], [128, 128, 255])
    rest = np.delete(strip.reshape(16, 48, 3), np.s_[16 + 10 : 16 + 12], axis=1)
    assert (rest == 255).all()


def test_half_a_mask_is_half_as_strong():
    views = torch.zeros(1, 4, 4, 4)
    views[0, 3], views[0, 2] = 0.5, -0.5
    assert abs(int(view_strip(views, 1)[0, 0, 0]) - 191) <= 1 and int(view_strip(views, 1)[0, 0, 2]) == 255


def test_skeletons_are_drawn_in_their_own_view_and_the_strip_stays():
    strip = view_strip(torch.zeros(2, 4, 16, 16), 4)
    joints = torch.full((2, NUM_JOINTS, 2), 8.0)
    joints[:, JOINT_NAMES.index("left_wrist")] = torch.tensor([2.0, 8.0])
    joints[0] = 8.0
    drawn = with_skeletons(strip, joints, 4)
    assert (strip == 255).all()
    changed = (drawn != 255).any(-1)
    assert changed[:, 64 + 8 : 64 + 30].any() and not changed[:, :24].any()
    assert (drawn[30:38, 64 + 20] == [255, 122, 69]).all(-1).any()
