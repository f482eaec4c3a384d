"""Analytic derivatives of the landmarks against automatic ones."""

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, keypoints_from_fk, rest_joints
from hmralign.fitting.evidence import KeypointNoise, predict
from hmralign.geometry.rotations import random_rotmat, rotvec_to_rotmat

BODY = load_free_body("3k5").to(torch.float64)
G = torch.Generator().manual_seed(0)
R = random_rotmat((2, 24), G).double()
BETAS = torch.randn(2, 10, generator=G).double()
OFFSETS = 0.05 * torch.randn(27, 3, generator=G).double()


def test_without_offsets_landmarks_are_the_keypoints():
    got = predict(BODY, R, BETAS, torch.zeros(27, 3).double(), derivatives=False).points
    G_, joints = forward_kinematics(rest_joints(BODY, BETAS), R, BODY.parents)
    torch.testing.assert_close(got, keypoints_from_fk(BODY, BETAS, G_, joints))


def test_derivative_by_turns():
    def moved(delta):
        return predict(BODY, R @ rotvec_to_rotmat(delta.view(2, 24, 3)), BETAS, OFFSETS, derivatives=False).points

    # Away from exactly zero, where the exponential's derivative is not defined for autograd.
    J = torch.autograd.functional.jacobian(moved, torch.full((2, 72), 1e-9, dtype=torch.float64))
    auto = torch.stack([J[i, :, :, i] for i in range(2)])
    torch.testing.assert_close(predict(BODY, R, BETAS, OFFSETS, derivatives=True).d_rotation, auto, atol=1e-6, rtol=0)


def test_derivative_by_shape():
    J = torch.autograd.functional.jacobian(lambda b: predict(BODY, R, b, OFFSETS, derivatives=False).points, BETAS)
    auto = torch.stack([J[i, :, :, i] for i in range(2)])
    torch.testing.assert_close(predict(BODY, R, BETAS, OFFSETS, derivatives=True).d_betas, auto, atol=1e-10, rtol=0)


def test_noise_is_infinite_where_nothing_was_observed_and_falls_with_confidence():
    noise = KeypointNoise(torch.tensor([0.06, 0.03, 0.02, 0.015, 0.012]).expand(27, -1), torch.zeros(27, 3))
    sigma = noise.of(torch.tensor([0.0, 0.1, 0.5, 0.7, 0.9, 1.0] + [0.0] * 21))
    assert sigma[0].isinf() and sigma[6:].isinf().all()
    assert torch.equal(sigma[1:6], noise.sigma[0])
