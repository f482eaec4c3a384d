"""Pose vectors: packing, mirroring, standardising, and back to rotations."""

import pytest
import torch

from hmralign.body.inverse_kinematics import twists
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.skeleton import MIRROR_JOINTS
from hmralign.geometry.frames import mirror_rotmats
from hmralign.geometry.rotations import rotmat_angle
from hmralign.models.pose_vector import POSE_DIM, PoseCodec, mirror, pack, unpack
from support.synthetic_persons import BODY, persons, seeded

BODIES = persons(200, seed=4).annotation.body
ROTMATS, REST = BODIES.rotmats, rest_joints(BODY, BODIES.betas)


def vector_of(rotmats, rest=REST):
    _, joints = forward_kinematics(rest, rotmats, BODY.parents)
    return pack(joints, twists(rotmats[:, 1:], rest))


VECTORS = vector_of(ROTMATS)


def fitted():
    codec = PoseCodec()
    codec.fit(VECTORS)
    return codec


def test_packing_and_unpacking():
    joints, twist = torch.randn(3, 2, 29, 3, generator=seeded(0)), torch.randn(3, 2, 23, 2, generator=seeded(1))
    vector = pack(joints, twist)
    assert vector.shape == (3, 2, POSE_DIM) == (3, 2, 130)
    got_joints, got_twist = unpack(vector)
    torch.testing.assert_close(got_joints, joints - joints[..., :1, :])
    assert torch.equal(got_twist, twist)


def test_the_place_of_the_body_is_not_in_the_vector():
    joints, twist = torch.randn(5, 29, 3, generator=seeded(0)), torch.randn(5, 23, 2, generator=seeded(1))
    torch.testing.assert_close(pack(joints + 7, twist), pack(joints, twist), atol=1e-5, rtol=0)


def test_true_poses_come_back():
    """All rotations, up to rounding, from joints and twists of a true pose."""
    got = PoseCodec().to_rotmats(VECTORS, REST)
    angle = rotmat_angle(got, ROTMATS)
    assert torch.quantile(angle.flatten(), 0.999) < 2e-3 and angle.median() < 5e-4


def test_through_the_codec_they_come_back_too():
    codec = fitted()
    got = codec.to_rotmats(codec.encode(VECTORS), REST)
    assert torch.quantile(rotmat_angle(got, ROTMATS).flatten(), 0.999) < 3e-3


def test_standardised_vectors_have_zero_mean_and_unit_spread():
    codec = fitted()
    x = torch.cat([codec.encode(VECTORS), codec.encode(mirror(VECTORS))])
    torch.testing.assert_close(x.mean(0), torch.zeros(130), atol=1e-4, rtol=0)
    assert x.std(0).max() < 1.001
    assert codec.std.min() >= 0.05
    free = codec.std > 0.0501
    assert free.sum() > 100
    torch.testing.assert_close(x.std(0)[free], torch.ones(int(free.sum())), atol=1e-3, rtol=0)


def test_coordinates_that_hardly_move_are_not_blown_up():
    codec = PoseCodec()
    codec.fit(torch.zeros(10, 130))
    assert torch.equal(codec.std, torch.full((130,), 0.05))


def test_encode_and_decode_are_inverse():
    codec = fitted()
    torch.testing.assert_close(codec.decode(codec.encode(VECTORS)), VECTORS, atol=1e-5, rtol=0)


def test_mirroring_twice_changes_nothing():
    x = torch.randn(50, 130, generator=seeded(0))
    assert torch.equal(mirror(mirror(x)), x)
    codec = fitted()
    torch.testing.assert_close(codec.mirror(codec.mirror(x)), x, atol=1e-4, rtol=0)


def test_mirrored_vectors_are_those_of_mirrored_bodies():
    """Joints of the mirrored pose, from forward kinematics; twists from the mirrored rotations."""
    torch.testing.assert_close(
        mirror(VECTORS), vector_of(mirror_rotmats(ROTMATS, MIRROR_JOINTS[:24])), atol=2e-3, rtol=0
    )


def test_mirroring_commutes_with_standardising():
    codec = fitted()
    torch.testing.assert_close(codec.mirror(codec.encode(VECTORS)), codec.encode(mirror(VECTORS)), atol=1e-4, rtol=0)
    x = torch.randn(50, 130, generator=seeded(0))
    assert codec.mirror(x).norm(dim=1) == pytest.approx(x.norm(dim=1), rel=1e-3), "noise is only relabelled"


def test_the_zero_vector_is_its_own_mirror_image():
    codec = fitted()
    torch.testing.assert_close(codec.mirror(torch.zeros(1, 130)), torch.zeros(1, 130), atol=1e-5, rtol=0)


def test_bone_lengths_come_from_the_shape():
    codec = fitted()
    x = torch.randn(20, 130, generator=seeded(0))
    rotmats = codec.to_rotmats(x, REST[:20])
    torch.testing.assert_close(rotmats @ rotmats.mT, torch.eye(3).expand(20, 24, 3, 3), atol=1e-3, rtol=0)
    _, joints = forward_kinematics(REST[:20], rotmats, BODY.parents)
    for child, parent in ((4, 1), (7, 4), (20, 18)):
        bone, rest = (p[:, child] - p[:, parent] for p in (joints, REST[:20]))
        torch.testing.assert_close(bone.norm(dim=1), rest.norm(dim=1), atol=1e-4, rtol=0)


def test_statistics_are_saved_with_the_weights():
    assert set(PoseCodec().state_dict()) == {"mean", "std"}
