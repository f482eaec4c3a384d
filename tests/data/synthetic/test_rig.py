import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.data.synthetic.rig import sample_rig, with_rig_noise
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.structures import InputError


def rig(count: int = 6, cameras: int = 3, seed: int = 0):
    return sample_rig(world_generator("wild", "train"), count, cameras, torch.Generator().manual_seed(seed))


def test_each_view_sees_the_same_body_from_where_its_camera_is():
    persons = rig()
    assert persons.views.annotation is not None
    joints = persons.views.annotation.joints  # (n, view, 29, 3)
    R, t = persons.T_view_first[..., :3, :3], persons.T_view_first[..., :3, 3]
    moved = joints[:, :1] @ R.mT + t[:, :, None]
    assert (moved - joints).norm(dim=-1).max() < 1e-4
    body = persons.views.annotation.body
    assert torch.equal(body.betas[:, 0], body.betas[:, 2]) and torch.equal(body.body_pose[:, 0], body.body_pose[:, 1])
    model = world_generator("wild", "train").model
    assert (posed_joints(model, body) - joints).abs().max() < 1e-4


def test_the_first_camera_sees_everybody_and_the_seed_says_whom():
    persons, again, other = rig(40), rig(40), rig(40, seed=1)
    assert ((persons.views.observation.confidence[:, 0] > 0).sum(-1) >= 6).all()
    assert torch.equal(persons.views.observation.keypoints, again.views.observation.keypoints)
    assert not torch.equal(persons.views.observation.keypoints, other.views.observation.keypoints)
    assert torch.equal(persons.T_view_first[:, 0], torch.eye(4).expand(40, 4, 4))


def test_a_rig_that_errs_moves_the_person_as_far_as_it_says_and_never_in_the_first_view():
    persons = rig(200, 4)
    assert persons.views.annotation is not None
    joints = persons.views.annotation.joints
    assert torch.allclose(with_rig_noise(persons, 0.0, 0.0, torch.Generator()), persons.T_view_first, atol=1e-5)
    T = with_rig_noise(persons, 0.0, 0.03, torch.Generator().manual_seed(0))
    off = (joints[:, :1] @ T[..., :3, :3].mT + T[..., None, :3, 3] - joints).norm(dim=-1)  # (n, view, 29)
    assert off[:, 0].max() < 1e-4
    assert off[:, 1:].square().mean().sqrt() == pytest.approx(0.03, rel=0.1)
    turned = with_rig_noise(persons, 3.0, 0.0, torch.Generator().manual_seed(0))
    about = (joints[:, :1] @ turned[..., :3, :3].mT + turned[..., None, :3, 3] - joints)[:, :, 0].norm(dim=-1)
    assert about.max() < 1e-3  # the pelvis stays where it is


@pytest.mark.parametrize(("count", "cameras"), [(0, 2), (3, 0)])
def test_nobody_and_no_camera_are_refused(count, cameras):
    with pytest.raises(InputError, match="expected at least one of each"):
        rig(count, cameras)
