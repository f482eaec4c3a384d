"""Training poses: mirrors, collars, recombination; and the typed postures, judged by where the joints are."""

import math
from dataclasses import replace

import pytest
import torch

from hmralign.body.joint_limits import limit_violation
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS
from hmralign.data.pose_file import PoseSet
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource, mirror, raise_collars
from hmralign.data.synthetic.postures import POSTURE_SETS, POSTURES, any_orientation, apply_posture, sample_postures
from hmralign.geometry.rotations import axis_rotmat, random_rotmat, rotmat_angle, rotmat_to_rotvec
from hmralign.geometry.swing_twist import swing_between
from support.synthetic_persons import BODY, seeded

J = {name: i for i, name in enumerate(JOINT_NAMES)}
BY_NAME = {p.name: p for p in POSTURES}
PLAIN = PoseMix(
    posture_share=0.0,
    file_share=0.0,
    recombine_share=0.0,
    perturb_deg=0.0,
    wide_perturb_share=0.0,
    tumble_share=0.0,
    collars=False,
)


@pytest.fixture(scope="module")
def drawn():
    return load_pose_prior().sample(500, seeded(1))


def joints(body_pose, root=None):
    """Joints of the mean shape, pelvis at the origin, in the pelvis' axes (x left, y up, z forward)."""
    n = len(body_pose)
    rest = rest_joints(BODY, torch.zeros(10)).expand(n, 29, 3)
    root = torch.eye(3).expand(n, 3, 3) if root is None else root
    _, posed = forward_kinematics(rest, torch.cat([root[:, None], body_pose], 1), BODY.parents)
    return posed - posed[:, :1]


def both(name):
    return [J[f"left_{name}"], J[f"right_{name}"]]


def test_mirroring_twice_changes_nothing(drawn):
    body_pose, up = drawn
    again, up_again = mirror(*mirror(body_pose, up))
    assert torch.equal(again, body_pose) and torch.equal(up_again, up)


def test_the_mirrored_pose_has_the_mirrored_joints(drawn):
    body_pose, up = drawn
    other, _ = mirror(body_pose, up)
    expected = joints(body_pose)[:, list(MIRROR_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(joints(other), expected, atol=1e-4, rtol=0)


def test_collars_turn_and_leave_the_upper_arms_where_they_point(drawn):
    body_pose, _ = drawn
    raised = raise_collars(body_pose, seeded(0))
    for side in ("left", "right"):
        collar, shoulder = J[f"{side}_collar"] - 1, J[f"{side}_shoulder"] - 1
        before, after = (p[:, collar] @ p[:, shoulder] for p in (body_pose, raised))
        torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
        assert torch.rad2deg(rotmat_angle(raised[:, collar], body_pose[:, collar])).mean() > 3
    others = [j for j in range(23) if not any(part in JOINT_NAMES[j + 1] for part in ("collar", "shoulder"))]
    assert torch.equal(raised[:, others], body_pose[:, others])


@pytest.mark.parametrize(("side", "sign"), [("left", 1.0), ("right", -1.0)])
def test_a_raised_arm_raises_its_collar(side, sign):
    """From hanging to straight up, the shoulder goes up; an arm reaching forward takes it forward."""

    def shoulder_place(rotmat):
        body_pose = torch.eye(3).repeat(1, 23, 1, 1)
        body_pose[:, J[f"{side}_shoulder"] - 1] = rotmat
        return joints(raise_collars(body_pose, seeded(0), noise_deg=0.0))[0, J[f"{side}_shoulder"]]

    hanging, level, up = (shoulder_place(axis_rotmat("z", torch.tensor([sign * a]))) for a in (-1.5, 0.0, 1.5))
    assert hanging[1] < level[1] < up[1] and up[1] - hanging[1] > 0.03
    forward = shoulder_place(axis_rotmat("y", torch.tensor([-sign * 1.2])))
    assert forward[2] - level[2] > 0.01


def test_mirrored_arms_have_mirrored_collars(drawn):
    body_pose, up = drawn
    quiet = lambda p: raise_collars(p, seeded(0), noise_deg=0.0)  # noqa: E731
    torch.testing.assert_close(quiet(mirror(body_pose, up)[0]), mirror(quiet(body_pose), up)[0], atol=1e-5, rtol=0)


def posed(name, n=300, seed=0):
    base, _ = load_pose_prior().sample(n, seeded(9))
    return apply_posture(BY_NAME[name], base, seeded(seed))


def world(body_pose, up):
    """Joints with the up direction along y, yaw free."""
    y = torch.tensor([0.0, 1.0, 0.0]).expand(len(up), 3)
    return joints(body_pose, swing_between(up, y))


@pytest.mark.parametrize("name", ["chair", "legs_apart_seat", "floor_seat"])
def test_seated_bodies(name):
    body_pose, up = posed(name)
    at = joints(body_pose)
    hip, knee, ankle = (at[:, both(part)] for part in ("hip", "knee", "ankle"))
    thigh = torch.nn.functional.normalize(knee - hip, dim=-1)
    assert (thigh[..., 2] > 0.6).all(), "thighs point forward"
    shank = torch.nn.functional.normalize(ankle - knee, dim=-1)
    bend = torch.rad2deg(torch.acos((thigh * shank).sum(-1).clamp(-1, 1)))
    assert bend.max() < 150 and (name == "floor_seat" or bend.min() > 45)
    if name != "floor_seat":
        assert (ankle[..., 1] < knee[..., 1]).float().mean() > 0.9, "feet hang or stand below the knees"
    assert (up[:, 1] > 0.75).all() and (world(body_pose, up)[:, J["head"], 1] > 0.3).float().mean() > 0.95


def test_knees_bend_backwards_and_hips_forwards():
    for name in BY_NAME:
        body_pose, _ = posed(name)
        for side in ("left", "right"):
            knee = rotmat_to_rotvec(body_pose[:, J[f"{side}_knee"] - 1])
            assert knee[:, 0].min() > -0.02 and knee[:, 1:].abs().max() < 1e-5


def test_crouching_brings_the_pelvis_near_the_heels():
    low, high = (world(*posed(name))[:, both("ankle"), 1].mean() for name in ("crouch", "half_squat"))
    assert -0.5 < low < -0.2 and high < low - 0.1


def test_on_all_fours_back_is_up_and_knees_are_below_the_hips():
    body_pose, up = posed("all_fours")
    assert (up[:, 2] < -0.8).all()
    at = world(body_pose, up)
    assert (at[:, both("knee"), 1] < at[:, both("hip"), 1] - 0.1).all()
    assert at[:, both("knee"), 1].mean() < -0.3 and at[:, J["neck"], 1].abs().mean() < 0.35


def test_lying_bodies_are_horizontal_and_some_lie_on_their_face():
    body_pose, up = posed("lying")
    assert up[:, 1].abs().max() < 0.5 and (up[:, 2] > -0.4).all(), (
        "the body's axis is level; face up before it is turned"
    )
    at = world(body_pose, up)
    assert (at[:, J["neck"], 1].abs() < 0.35).float().mean() > 0.95
    everybody, up = sample_postures(load_pose_prior().sample(1500, seeded(3))[0], seeded(0))
    thigh = -everybody[:, J["left_hip"] - 1, :, 1]
    stretched = (up[:, 1].abs() < 0.3) & (thigh[:, 1] < -0.7)  # those on all fours have their thighs forward
    face_up, face_down = (stretched & (sign * up[:, 2] > 0.5) for sign in (1, -1))
    assert 1.5 < face_up.sum() / face_down.sum() < 6


def test_one_sided_postures_differ_between_the_legs_and_the_others_hardly():
    def difference(name):
        body_pose, _ = posed(name)
        knees = [rotmat_angle(body_pose[:, k - 1], torch.eye(3).expand(300, 3, 3)) for k in both("knee")]
        return (knees[0] - knees[1]).abs().mean()

    assert difference("lunge") > 2.5 * difference("chair")


def test_postures_leave_the_upper_body_alone_and_keep_the_legs_possible():
    base, _ = load_pose_prior().sample(300, seeded(9))
    body_pose, up = sample_postures(base, seeded(4))
    arms = [j - 1 for j in range(16, 24)] + [J["neck"] - 1, J["head"] - 1]
    assert torch.equal(body_pose[:, arms], base[:, arms])
    legs = [j - 1 for part in ("hip", "knee", "ankle", "foot") for j in both(part)]
    assert (limit_violation(body_pose)[:, legs].amax(1) > 0.6).float().mean() < 0.02
    torch.testing.assert_close(up.norm(dim=1), torch.ones(300))


def test_weights_of_the_postures_are_those_drawn():
    assert sum(p.weight for p in POSTURES) == pytest.approx(1.0)


def test_no_upper_bodies_no_postures():
    body_pose, up = sample_postures(torch.zeros(0, 23, 3, 3), seeded(0))
    assert body_pose.shape == (0, 23, 3, 3) and up.shape == (0, 3)


def test_tumbling_has_no_preferred_direction():
    up = any_orientation(4000, seeded(0))
    assert up.mean(0).norm() < 0.05
    torch.testing.assert_close(up.T @ up / 4000, torch.eye(3) / 3, atol=0.03, rtol=0)


def pose_set(n=7):
    rotmats = random_rotmat((n, 23), seeded(8))
    up = torch.nn.functional.normalize(torch.randn(n, 3, generator=seeded(8)), dim=1)
    return PoseSet(rotmats, up, torch.zeros(n, 24, 3), "0" * 64)


def distances(a, b):
    return torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def test_plain_poses_from_a_file_come_as_they_are_or_mirrored():
    poses = pose_set()
    mix = PoseMix(**{**vars(PLAIN), "file_share": 1.0})
    body_pose, up = PoseSource(load_pose_prior(), mix, poses).sample(200, seeded(0))
    known = torch.cat([poses.body_pose, mirror(poses.body_pose, poses.up_in_pelvis)[0]]).flatten(1)
    nearest = distances(body_pose, known)
    assert nearest.amin(1).max() < 1e-3
    assert 60 < (nearest.argmin(1) < 7).sum() < 140, "half of them are mirrored"
    ups = torch.cat([poses.up_in_pelvis, poses.up_in_pelvis * torch.tensor([-1.0, 1, 1])])
    torch.testing.assert_close(up, ups[nearest.argmin(1)], atol=1e-5, rtol=0)


def test_shares_are_probabilities():
    poses = pose_set()
    mix = PoseMix(**{**vars(PLAIN), "file_share": 0.3})
    body_pose, _ = PoseSource(load_pose_prior(), mix, poses).sample(2000, seeded(0))
    from_file = rotmat_angle(body_pose[:, J["left_hand"] - 1], torch.eye(3).expand(2000, 3, 3)) > 1e-3
    assert 0.25 < from_file.float().mean() < 0.35, "the prior's hands do not move, those of the file do"


def test_perturbations_have_the_size_they_say():
    still = PoseSet(torch.eye(3).repeat(2, 23, 1, 1), torch.tensor([[0.0, 1, 0]] * 2), torch.zeros(2, 24, 3), "0" * 64)
    mix = PoseMix(**{**vars(PLAIN), "file_share": 1.0, "perturb_deg": 5.0, "wide_perturb_share": 0.2})
    body_pose, _ = PoseSource(load_pose_prior(), mix, still).sample(3000, seeded(0))
    rms = torch.rad2deg(rotmat_to_rotvec(body_pose).square().mean((1, 2)).sqrt())
    wide = rms > 12
    assert wide.float().mean() == pytest.approx(0.2, abs=0.03)
    assert rms[~wide].square().mean().sqrt() == pytest.approx(5, rel=0.03)
    assert rms[wide].square().mean().sqrt() == pytest.approx(25, rel=0.05)


def test_recombined_bodies_take_whole_arms_from_others():
    poses = pose_set()
    mix = PoseMix(**{**vars(PLAIN), "file_share": 1.0, "recombine_share": 1.0})
    body_pose, _ = PoseSource(load_pose_prior(), mix, poses).sample(300, seeded(0))
    known = torch.cat([poses.body_pose, mirror(poses.body_pose, poses.up_in_pelvis)[0]])

    def donor(part):
        slots = [j - 1 for j in part]
        distance = distances(body_pose[:, slots], known[:, slots])
        assert distance.amin(1).max() < 1e-3, "a part is taken whole"
        return distance.argmin(1)

    legs = donor([1, 2, 4, 5, 7, 8, 10, 11])
    arms = [donor([J[f"{s}_{n}"] for n in ("collar", "shoulder", "elbow", "wrist", "hand")]) for s in ("left", "right")]
    assert (arms[0] != legs).float().mean() > 0.4 and (arms[0] != arms[1]).float().mean() > 0.4


def test_the_default_mix_gives_rotations_and_the_same_again_from_the_same_seed():
    source = PoseSource(load_pose_prior(), PoseMix(), pose_set())
    (a, up), (b, _), (c, _) = (source.sample(2000, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    torch.testing.assert_close(a @ a.mT, torch.eye(3).expand_as(a), atol=1e-5, rtol=0)
    torch.testing.assert_close(up.norm(dim=1), torch.ones(2000), atol=1e-5, rtol=0)
    assert math.isclose(torch.linalg.det(a).min(), 1, abs_tol=1e-4)


def test_as_many_poses_are_mirrored_as_is_said():
    def sampled(share):
        return PoseSource(load_pose_prior(), replace(PLAIN, mirror_share=share)).sample(400, seeded(3))

    plain, every, half = sampled(0.0), sampled(1.0), sampled(0.5)
    for found, expected in zip(every, mirror(*plain), strict=True):
        torch.testing.assert_close(found, expected)
    stayed = (half[0] - plain[0]).abs().amax((1, 2, 3)) < 1e-6
    assert 0.4 < stayed.float().mean() < 0.6


@pytest.mark.parametrize("name", ["validation", "test"])
def test_postures_of_a_benchmark_are_those_of_no_other_set(name):
    """Some joint of a leg, the spine or the pelvis is at least ten degrees away from where any other set has it."""
    turned = [JOINT_NAMES.index(n) - 1 for n in ("left_hip", "right_hip", "left_knee", "right_knee", "spine1")]

    def drawn(posture, seed):
        pose, up = apply_posture(posture, torch.eye(3).expand(300, 23, 3, 3), seeded(seed))
        pose[:, turned[-1]] = torch.linalg.matrix_power(pose[:, turned[-1]], 3)  # three joints share the bend
        return pose[:, turned], up

    def degrees(a, b):
        trace = torch.einsum("aij,bij->ab", a, b)
        return torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos())

    for posture in POSTURE_SETS[name]:
        ours, our_up = drawn(posture, 1)
        for other in (p for among, postures in POSTURE_SETS.items() if among != name for p in postures):
            theirs, their_up = drawn(other, 2)
            apart = [degrees(ours[:, k], theirs[:, k]) for k in range(len(turned))]
            apart.append(torch.rad2deg((our_up @ their_up.T).clamp(-1, 1).acos()))
            assert torch.stack(apart).amax(0).min() > 10, (posture.name, other.name)


def test_a_mix_names_its_postures():
    upright = PoseMix(posture_share=1.0, perturb_deg=0.0, tumble_share=0.0, collars=False, mirror_share=0.0)
    heads_down = {}
    for name in POSTURE_SETS:
        _, up = PoseSource(load_pose_prior("train"), replace(upright, postures=name)).sample(200, seeded(3))
        heads_down[name] = float((up[:, 1] < -0.5).float().mean())
    assert heads_down["test"] > 0.1 and heads_down["training"] == heads_down["validation"] == 0.0
