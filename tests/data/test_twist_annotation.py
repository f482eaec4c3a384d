"""Poses of files become joints and twists, from which the same poses come back; mixed-up layouts are refused."""

import numpy as np
import pytest
import torch

from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.inverse_kinematics import BONE_CHILD, joints_twists_to_pose
from hmralign.body.npz_file import read_npz
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.data import pose_parameters, twist_annotation
from hmralign.data.pose_parameters import read_pose_parameters
from hmralign.data.twist_annotation import annotate_twists, largest_degrees, write_twists
from hmralign.geometry.rotations import random_rotmat, rotmat_angle, rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import InputError
from support.body_files import stand_in, write_npz
from support.shared_data import require_shared

BODY = load_free_body("3k5")


def large_poses(frames, seed=0):
    """Rotations without a favourite direction: angles up to half a turn, 126 degrees on average."""
    rotmats = random_rotmat((frames, 24), torch.Generator().manual_seed(seed)).double()
    return rotmat_to_rotvec(torch.linalg.qr(rotmats)[0] * torch.linalg.det(rotmats)[..., None, None].sign())


def saved(folder, **arrays):
    np.savez(folder / "poses.npz", **arrays)
    return folder / "poses.npz"


def annotated(path, body=BODY):
    parameters = read_pose_parameters(path)
    annotation = annotate_twists(parameters, body)
    return read_npz(write_twists(path.with_name("twists.npz"), annotation, parameters, body)), annotation


def pose_of(arrays):
    """The way back, from what was written."""
    joints, twists, rest = (
        torch.from_numpy(arrays[name]).double() for name in ("joints", "twist_cos_sin", "rest_joints")
    )
    return joints_twists_to_pose(joints, twists, rest.expand_as(joints))


def test_large_poses_come_back(tmp_path):
    rotvecs = large_poses(300)
    arrays, annotation = annotated(saved(tmp_path, poses=rotvecs.reshape(300, 72).numpy()))
    error = rotmat_angle(pose_of(arrays), rotvec_to_rotmat(rotvecs))
    assert error.mean() < 1e-5 and error.max() < 5e-3  # single precision, where a bone is nearly reversed
    assert largest_degrees(annotation) < 1e-3


def test_all_real_poses_come_back(tmp_path):
    rotvecs = read_npz(require_shared("poses/cmu_smpl24_poses.npz"))["poses"][::20]
    arrays, annotation = annotated(saved(tmp_path, poses=rotvecs.astype(np.float32)))
    again = rotmat_angle(pose_of(arrays), rotvec_to_rotmat(torch.from_numpy(rotvecs).double()))
    assert len(again) > 1000 and again.max() < 1e-3 and annotation.largest_error < 1e-6


def test_every_layout_gives_the_same_twists(tmp_path):
    rotvecs = large_poses(5).numpy()
    matrices = rotvec_to_rotmat(torch.from_numpy(rotvecs)).numpy()
    plain, _ = annotated(saved(tmp_path, poses=rotvecs.reshape(5, 72)))
    for poses in (rotvecs, matrices):
        other, _ = annotated(saved(tmp_path, poses=poses))
        np.testing.assert_allclose(other["twist_cos_sin"], plain["twist_cos_sin"], atol=1e-6)
        np.testing.assert_allclose(other["joints"], plain["joints"], atol=1e-6)
    for joints in (52, 55):
        fingers = np.ones((5, joints, 3))
        fingers[:, :22] = rotvecs[:, :22]
        for poses in (fingers, fingers.reshape(5, -1)):
            amass, _ = annotated(saved(tmp_path, poses=poses, trans=np.ones((5, 3))))
            np.testing.assert_allclose(amass["twist_cos_sin"][:, :21], plain["twist_cos_sin"][:, :21], atol=1e-6)
            assert amass["valid"].tolist() == [True] * 21 + [False] * 2 and (amass["trans"] == 1).all()
            assert np.abs(amass["twist_angle"][:, 21:]).max() < 1e-12
        both, _ = annotated(saved(tmp_path, poses=fingers, smpl_poses=rotvecs.reshape(5, 72)))
        assert both["valid"].all() and np.array_equal(both["twist_cos_sin"], plain["twist_cos_sin"])


def test_twists_say_whose_they_are(tmp_path):
    poses = np.zeros((1, 24, 3))
    knee, neck = JOINT_NAMES.index("left_knee"), JOINT_NAMES.index("spine3")
    rest = BODY.J_template.double().numpy()
    for joint, child, angle in ((knee, "left_ankle", 0.7), (neck, "neck", -0.4)):
        bone = rest[JOINT_NAMES.index(child)] - rest[joint]
        poses[0, joint] = angle * bone / np.linalg.norm(bone)
    arrays, _ = annotated(saved(tmp_path, poses=poses))
    angles = dict(zip(arrays["twist_joint"].tolist(), arrays["twist_angle"][0].tolist(), strict=True))
    assert angles.pop("left_knee") == pytest.approx(0.7) and angles.pop("spine3") == pytest.approx(-0.4)
    assert max(map(abs, angles.values())) < 1e-6
    assert arrays["bone_child"].tolist() == [JOINT_NAMES[child] for child in BONE_CHILD]
    np.testing.assert_allclose(arrays["twist_cos_sin"][..., 1], np.sin(arrays["twist_angle"]), atol=1e-6)


def test_betas_count_only_for_the_body_they_belong_to(tmp_path, monkeypatch):
    rotvecs, betas = large_poses(3).numpy(), np.linspace(-2, 2, 16)
    path = saved(tmp_path, poses=rotvecs, betas=betas)
    _, without = annotated(path)
    assert not without.shaped and torch.equal(without.rest_joints[0, 1], BODY.J_template.double()[1])
    own = saved(tmp_path, poses=rotvecs, betas=betas[:10], skeleton_hash=BODY.skeleton_hash)
    arrays, shaped = annotated(own)
    assert shaped.shaped and not np.allclose(arrays["rest_joints"], without.rest_joints)
    theirs = load_body(write_npz(tmp_path, stand_in()))
    arrays, shaped = annotated(saved(tmp_path, poses=rotvecs, betas=np.stack([betas, -betas, 2 * betas])), theirs)
    assert shaped.shaped and arrays["rest_joints"].shape == (3, 29, 3)
    assert rotmat_angle(pose_of(arrays), rotvec_to_rotmat(torch.from_numpy(rotvecs))).max() < 5e-3
    some = saved(tmp_path, poses=rotvecs[1:2], betas=-betas)
    np.testing.assert_allclose(annotated(some, theirs)[0]["joints"][0], arrays["joints"][1], atol=1e-6)
    monkeypatch.setattr(twist_annotation, "_FRAMES_AT_ONCE", 2)
    again = saved(tmp_path, poses=rotvecs, betas=np.stack([betas, -betas, 2 * betas]))
    np.testing.assert_array_equal(annotated(again, theirs)[0]["joints"], arrays["joints"])
    other = saved(tmp_path, poses=rotvecs, betas=betas, skeleton_hash=BODY.skeleton_hash)
    assert not annotated(other, theirs)[1].shaped


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"poses": np.zeros((4, 69))},
            "69 numbers a frame, which are SMPL's 23 body joints without the root; expected 72",
        ),
        ({"poses": np.zeros((4, 63))}, "63 numbers a frame, which are 21 body joints of SMPL-H or SMPL-X, without"),
        ({"poses": np.zeros((4, 66))}, "66 numbers a frame"),
        ({"poses": np.zeros(72)}, "shape (72,)"),
        ({"poses": np.zeros((4, 23, 3))}, "shape (4, 23, 3)"),
        ({"poses": np.zeros((0, 72))}, "0 poses, expected 1 to"),
        ({"poses": np.full((4, 72), 90.0)}, "expected radians, not degrees"),
        ({"poses": np.full((4, 72), np.nan)}, "is not finite numbers"),
        ({"poses": np.full((4, 72), "a")}, "is not finite numbers"),
        ({"poses": np.zeros((4, 24, 3, 3))}, "frame 0 has a matrix that is no rotation"),
        ({"poses": np.tile(np.diag([1.0, 1.0, -1.0]), (4, 24, 1, 1))}, "no rotation"),
        ({"poses": np.zeros((4, 72)), "betas": np.zeros((3, 10))}, "'betas' has shape (3, 10), expected"),
        ({"poses": np.zeros((4, 72)), "betas": np.full(10, np.inf)}, "'betas' is not finite"),
        ({"poses": np.zeros((4, 72)), "trans": np.zeros((4, 2))}, "'trans' has shape (4, 2), expected (4, 3)"),
        ({"pose": np.zeros((4, 72))}, "lacks the array 'poses' (it has pose)"),
        ({"poses": np.array([{"a": 1}])}, "objects"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(tmp_path, arrays, words):
    path = saved(tmp_path, **arrays)
    with pytest.raises(InputError) as error:
        read_pose_parameters(path)
    assert words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_files_and_too_many_poses(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path / "nowhere.npz"):
        with pytest.raises(InputError, match="no such file"):
            read_pose_parameters(path)
    monkeypatch.setattr(pose_parameters, "MAX_POSES", 3)
    with pytest.raises(InputError, match="4 poses, expected 1 to 3"):
        read_pose_parameters(saved(tmp_path, poses=np.zeros((4, 72))))
