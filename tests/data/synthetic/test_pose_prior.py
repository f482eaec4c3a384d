"""The shipped pose priors: valid bodies, close to the poses they were fitted on, and statistics only."""

import json
from importlib.resources import files

import numpy as np
import pytest
import torch

from hmralign.body.joint_limits import limit_violation
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.data.pose_file import load_pose_file
from hmralign.data.synthetic.pose_prior import MOVING_JOINTS, load_pose_prior, read_pose_prior
from hmralign.data.synthetic.poses import mirror
from hmralign.structures import InputError
from support.npz_damage import with_broken_stream
from support.shared_data import require_shared
from support.synthetic_persons import BODY, seeded

NAMES = ("train", "heldout")


def asset(name):
    return files("hmralign.data.synthetic") / "assets" / f"pose_prior_{name}.npz"


@pytest.fixture(scope="module", params=NAMES)
def drawn(request):
    return request.param, *load_pose_prior(request.param).sample(5000, seeded(0))


def test_samples_are_rotations_and_unit_directions(drawn):
    _, body_pose, up = drawn
    eye = torch.eye(3).expand_as(body_pose)
    torch.testing.assert_close(body_pose @ body_pose.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(body_pose), torch.ones(5000, 23), atol=1e-5, rtol=0)
    torch.testing.assert_close(up.norm(dim=1), torch.ones(5000))


def test_joints_that_the_capture_did_not_move_stay_still(drawn):
    _, body_pose, _ = drawn
    still = [j - 1 for j in range(1, 24) if j not in MOVING_JOINTS]
    assert [JOINT_NAMES[j + 1] for j in still] == ["left_collar", "right_collar", "left_hand", "right_hand"]
    assert torch.equal(body_pose[:, still], torch.eye(3).expand(5000, 4, 3, 3))


def test_hardly_any_sample_is_impossible(drawn):
    _, body_pose, _ = drawn
    assert (limit_violation(body_pose).amax(1) > 0.6).float().mean() < 0.05


def test_people_are_mostly_upright_and_in_no_single_pose(drawn):
    _, body_pose, up = drawn
    assert (up[:, 1] > 0.7).float().mean() > 0.8
    assert body_pose[:, [JOINT_NAMES.index("left_shoulder") - 1]].std(0).amax() > 0.25


def test_both_sides_are_used_alike(drawn):
    _, body_pose, up = drawn
    other, _ = mirror(body_pose, up)
    torch.testing.assert_close(body_pose.mean(0), other.mean(0), atol=0.06, rtol=0)


@pytest.mark.parametrize("n", [1, 3, 100])
def test_the_generator_decides(n):
    prior = load_pose_prior()
    (a, up), (b, _), (c, _) = (prior.sample(n, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and a.shape == (n, 23, 3, 3) and up.shape == (n, 3)


def test_the_two_priors_are_not_the_same():
    assert not torch.equal(load_pose_prior("train").means[:32], load_pose_prior("heldout").means)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_small_and_holds_statistics_only(name):
    assert len(asset(name).read_bytes()) <= 10**6
    with asset(name).open("rb") as handle, np.load(handle, allow_pickle=False) as data:
        arrays = {key: data[key] for key in data.files}
    assert set(arrays) == {
        "format_version", "weights", "means", "cholesky_tril", "provenance", "source_sha256", "settings",
    }  # fmt: skip
    components, features = arrays["means"].shape
    assert features == 3 * len(MOVING_JOINTS) + 3
    assert arrays["cholesky_tril"].shape == (components, features * (features + 1) // 2)
    assert arrays["weights"].sum() == pytest.approx(1, abs=1e-4)
    assert "mocap.cs.cmu.edu" in str(arrays["provenance"]) and "NSF EIA-0196217" in str(arrays["provenance"])


def test_a_broken_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "prior.npz"
    path.write_bytes(asset("heldout").read_bytes())
    read_pose_prior(path)
    with pytest.raises(InputError, match=r"prior\.npz: damaged"):
        read_pose_prior(with_broken_stream(path, "means"))
    np.savez(path, format_version=1)
    with pytest.raises(InputError, match=r"prior\.npz: lacks"):
        read_pose_prior(path)


@pytest.mark.parametrize("name", NAMES)
def test_no_component_is_one_pose(name):
    """Each stands for many poses and is wider than what would give one of them away."""
    prior = load_pose_prior(name)
    with asset(name).open("rb") as handle, np.load(handle, allow_pickle=False) as data:
        poses = json.loads(str(data["settings"]))["poses"]
    assert (prior.weights * poses).min() > 50
    spread = prior.cholesky.square().sum(2).sqrt()[:, :-3].mean(1)
    assert torch.rad2deg(spread).min() > 3


@pytest.mark.assets
def test_samples_are_on_average_where_the_real_poses_are(drawn):
    name, body_pose, up = drawn
    real = load_pose_file(require_shared("poses/cmu_smpl24_poses.npz"), {"train": "train", "heldout": "test"}[name])
    other_pose, other_up = mirror(real.body_pose, real.up_in_pelvis)
    real_pose, real_up = torch.cat([real.body_pose, other_pose]), torch.cat([real.up_in_pelvis, other_up])

    def joints(pose):
        rest = rest_joints(BODY, torch.zeros(10)).expand(len(pose), 29, 3)
        upright = torch.eye(3).expand(len(pose), 1, 3, 3)
        return forward_kinematics(rest, torch.cat([upright, pose], 1), BODY.parents)[1]

    ours, theirs = joints(body_pose), joints(real_pose)
    assert (ours.mean(0) - theirs.mean(0)).norm(dim=1).max() < 0.03
    torch.testing.assert_close(ours.std(0), theirs.std(0), atol=0.04, rtol=0.25)
    torch.testing.assert_close(up.mean(0), real_up.mean(0), atol=0.02, rtol=0)


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
def test_each_prior_was_fitted_on_the_shared_file(name):
    real = load_pose_file(require_shared("poses/cmu_smpl24_poses.npz"), "train")
    with asset(name).open("rb") as handle, np.load(handle, allow_pickle=False) as data:
        assert str(data["source_sha256"]) == real.sha256
