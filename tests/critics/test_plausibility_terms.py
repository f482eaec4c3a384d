"""The terms of plausibility that are off unless asked for."""

from dataclasses import replace
from functools import lru_cache

import torch

from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS
from hmralign.critics.bone_symmetry import bone_asymmetry
from hmralign.critics.critic import judge
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.pose_surprise import pose_surprise
from hmralign.data.synthetic.pose_prior import MOVING_JOINTS, load_pose_prior
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from support.critic_examples import group_around, persons


@lru_cache(maxsize=1)
def scene():
    body, example = persons(8)
    return body, example, group_around(body, example.annotation.body, [0.0, 0.2, 0.5])


def test_both_terms_are_off_and_only_ever_cost():
    body, example, group = scene()
    plain = judge(PlausibilityCritic(body), group, example)
    for critic in (PlausibilityCritic(body, prior_weight=1.0), PlausibilityCritic(body, symmetry_weight=1.0)):
        scores = judge(critic, group, example)
        assert (scores <= plain + 1e-6).all() and (scores > -1).all()


def test_surprise_is_zero_on_average_for_the_priors_own_poses_and_grows_with_disturbance():
    generator = torch.Generator().manual_seed(7)
    poses, _ = load_pose_prior("train").sample(500, generator)
    assert abs(pose_surprise(poses).mean()) < 0.05
    means = []
    for angle in (0.0, 0.1, 0.2, 0.4):
        turn = rotvec_to_rotmat(angle * torch.randn(500, 23, 3, generator=generator) / 3**0.5)
        means.append(float(pose_surprise(poses @ turn).mean()))
    assert means == sorted(means) and means[1] > 0.5
    grid = pose_surprise(poses.unflatten(0, (50, 10)))
    assert torch.allclose(grid.flatten(), pose_surprise(poses), atol=1e-4)


def test_surprise_is_minus_the_log_density_of_a_mixture_computed_by_torch():
    prior = load_pose_prior("train")
    poses, _ = prior.sample(20, torch.Generator().manual_seed(3))
    angles = rotmat_to_rotvec(poses)[:, [j - 1 for j in MOVING_JOINTS]].flatten(1).double()
    n = angles.shape[1]
    covariance = (prior.cholesky @ prior.cholesky.mT).double()[:, :n, :n]
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(prior.weights.double()),
        torch.distributions.MultivariateNormal(prior.means[:, :n].double(), covariance, validate_args=False),
    )
    expected = -mixture.log_prob(angles) / n
    found = pose_surprise(poses).double()
    assert torch.allclose(found - found[0], expected - expected[0], atol=1e-3)


def test_hands_and_collars_do_not_surprise():
    poses, _ = load_pose_prior("train").sample(5, torch.Generator().manual_seed(3))
    turned = poses.clone()
    for name in ("left_collar", "right_hand"):
        turned[:, JOINT_NAMES.index(name) - 1] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    assert torch.equal(pose_surprise(turned), pose_surprise(poses))


def test_posed_bodies_are_symmetric_and_mirrored_points_equally_asymmetric():
    _, _, group = scene()
    assert bone_asymmetry(group.joints).max() < 1e-3
    points = group.joints + 0.05 * torch.randn(group.joints.shape, generator=torch.Generator().manual_seed(0))
    asymmetry = bone_asymmetry(points)
    assert (asymmetry > 0.05).all()
    mirrored = points[..., list(MIRROR_JOINTS), :] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(bone_asymmetry(mirrored), asymmetry, atol=1e-5)
    assert torch.allclose(bone_asymmetry(3.0 * points + 1.0), asymmetry, atol=1e-4)


def test_a_longer_left_side_is_seen():
    body, example, group = scene()
    elbow, wrist = JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("left_wrist")
    joints = group.joints.clone()
    joints[..., wrist, :] = joints[..., elbow, :] + 1.3 * (joints[..., wrist, :] - joints[..., elbow, :])
    longer = replace(group, joints=joints)
    assert (bone_asymmetry(joints) > 0.02).all()
    critic = PlausibilityCritic(body, symmetry_weight=1.0)
    assert (judge(critic, longer, example) < judge(critic, group, example)).all()
