"""Skeleton maps: a channel for each bone, drawn where the bone is."""

import math

import torch

from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS, NUM_JOINTS
from hmralign.models.multiview.skeleton_maps import BONES, MIRROR_BONES, NUM_BONES, skeleton_maps
from support.synthetic_persons import seeded


def pixels(n=2):
    return 4 + 24 * torch.rand(n, NUM_JOINTS, 2, generator=seeded(0))


def test_every_joint_but_the_pelvis_has_a_bone_to_its_parent():
    assert NUM_BONES == 23 and sorted(child for _, child in BONES) == list(range(1, 24))
    assert BONES[JOINT_NAMES.index("left_elbow") - 1] == tuple(map(JOINT_NAMES.index, ("left_shoulder", "left_elbow")))


def test_a_pixel_falls_off_with_its_distance_from_the_segment():
    """The oracle finds the distance by looking along the segment in small steps."""
    joints, width = pixels(1), 0.8
    maps = skeleton_maps(joints, 32, width)[0]
    share = torch.linspace(0, 1, 4001)[:, None]
    for bone, x, y in ((0, 3, 7), (11, 16, 16), (22, 30, 1), (5, 10, 25)):
        parent, child = BONES[bone]
        line = joints[0, parent] + share * (joints[0, child] - joints[0, parent])
        distance = float((line - torch.tensor([float(x), float(y)])).norm(dim=-1).min())
        assert abs(float(maps[bone, y, x]) - math.exp(-(distance**2) / (2 * width**2))) < 1e-4
    assert float(maps.min()) >= 0 and float(maps.max()) <= 1


def test_a_mirrored_body_has_mirrored_maps():
    joints, size = pixels(), 32
    other = joints[:, list(MIRROR_JOINTS[:NUM_JOINTS])]
    other = torch.stack([size - 1 - other[..., 0], other[..., 1]], -1)
    expected = skeleton_maps(joints, size).flip(-1)[:, list(MIRROR_BONES)]
    torch.testing.assert_close(skeleton_maps(other, size), expected, atol=1e-5, rtol=1e-4)


def test_maps_follow_joints_by_their_gradient_and_stand_joints_that_coincide_or_lie_outside():
    joints = pixels(1).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda j: skeleton_maps(j, 8), joints, atol=1e-4)
    away = torch.full((1, NUM_JOINTS, 2), 100.0, requires_grad=True)
    maps = skeleton_maps(away, 16)
    maps.sum().backward()
    assert float(maps.detach().max()) == 0 and bool(torch.isfinite(away.grad).all())
