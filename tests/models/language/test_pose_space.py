"""Latents are differentiable, mirrors undo themselves, and only a codebook has codes."""

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics
from hmralign.body.skeleton import MIRROR_JOINTS
from hmralign.geometry.rotations import random_rotmat
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig, mirrored_rotmats
from hmralign.structures import InputError

SMALL = PoseSpaceConfig(width=16, depth=1, tokens=6, code_dim=2, codes=9)


def space(config=SMALL):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PoseSpace(config).eval()


def poses(n=5):
    return random_rotmat((n, 24), torch.Generator().manual_seed(0))


def test_a_latent_is_continuous_and_has_a_gradient():
    rotmats = poses().requires_grad_()
    latent = space().encode(rotmats)
    assert latent.shape == (5, 12) == (5, SMALL.latent)
    latent.square().sum().backward()
    assert rotmats.grad is not None and (rotmats.grad.flatten(2).abs().sum(2) > 0).all()  # every joint counts


def test_what_is_decoded_are_rotations_and_the_parts_make_the_whole():
    one, rotmats = space(), poses()
    made = one(rotmats)
    torch.testing.assert_close(made @ made.mT, torch.eye(3).expand_as(made), atol=1e-5, rtol=0)
    assert torch.equal(made, one.decode(one.quantize(one.encode(rotmats))))
    assert one.codebook is not None
    tokens = one.codebook.codes[one.codes(rotmats)]
    torch.testing.assert_close(one.quantize(one.encode(rotmats)), tokens.flatten(1))


def test_a_plain_autoencoder_has_the_same_latents_and_no_codes():
    plain = space(PoseSpaceConfig(width=16, depth=1, tokens=6, code_dim=2, codes=0))
    latent = plain.encode(poses())
    assert plain.quantize(latent) is latent and latent.shape == (5, 12)
    with pytest.raises(InputError, match="no codes"):
        plain.codes(poses())


def test_a_mirrored_pose_has_mirrored_joints_on_a_symmetric_body_and_twice_is_nothing():
    body, rotmats = load_free_body("3k5"), poses()
    assert torch.equal(mirrored_rotmats(mirrored_rotmats(rotmats)), rotmats)
    flip, swap = torch.tensor([-1.0, 1.0, 1.0]), list(MIRROR_JOINTS)
    rest = (body.J_template + body.J_template[swap] * flip) / 2  # the body is symmetric to about a millimetre
    rest = rest - rest[:1]
    _, joints = forward_kinematics(rest, rotmats, body.parents)
    _, mirrored = forward_kinematics(rest, mirrored_rotmats(rotmats), body.parents)
    torch.testing.assert_close(mirrored, joints[:, swap] * flip, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bad", [{"width": 0}, {"depth": 0}, {"tokens": 0}, {"code_dim": 0}, {"codes": -1}])
def test_sizes_without_meaning_are_refused(bad):
    with pytest.raises(InputError, match="pose space"):
        PoseSpaceConfig(**bad)
