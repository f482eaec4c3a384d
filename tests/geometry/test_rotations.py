"""Two columns say a rotation, and any two vectors give one."""

import torch

from hmralign.geometry.rotations import random_rotmat, rot6d_to_rotmat, rotmat_to_rot6d


def generator():
    return torch.Generator().manual_seed(0)


def test_two_columns_say_the_rotation():
    rotmats = random_rotmat((50, 2), generator())
    six = rotmat_to_rot6d(rotmats)
    assert torch.equal(six[..., :3], rotmats[..., :, 0]) and torch.equal(six[..., 3:], rotmats[..., :, 1])
    torch.testing.assert_close(rot6d_to_rotmat(six), rotmats, atol=1e-6, rtol=0)


def test_any_two_vectors_give_a_rotation_and_their_lengths_do_not_matter():
    six = torch.randn(200, 6, generator=generator(), dtype=torch.float64)
    rotmats = rot6d_to_rotmat(six)
    torch.testing.assert_close(rotmats @ rotmats.mT, torch.eye(3, dtype=torch.float64).expand(200, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotmats), torch.ones(200, dtype=torch.float64))
    scaled = torch.cat([3 * six[:, :3], 0.2 * six[:, 3:]], -1)
    torch.testing.assert_close(rot6d_to_rotmat(scaled), rotmats)


def test_vectors_that_give_no_rotation_give_no_nan_either():
    six = torch.tensor([[0.0] * 6, [1.0, 0, 0, 2.0, 0, 0]], requires_grad=True)
    rotmats = rot6d_to_rotmat(six)
    rotmats.sum().backward()
    assert torch.isfinite(rotmats).all() and six.grad is not None and torch.isfinite(six.grad).all()
