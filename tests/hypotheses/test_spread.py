"""Disagreement within a group, joint by joint."""

import pytest
import torch

from hmralign.hypotheses.spread import joint_spread, surface_spread


def test_only_the_joint_that_hypotheses_disagree_on_is_uncertain():
    joints = torch.randn(24, 3, generator=torch.Generator().manual_seed(0)).repeat(2, 4, 1, 1)
    joints[1, :, 5, 0] += torch.tensor([0.1, -0.1, 0.1, -0.1])
    spread = joint_spread(joints)
    assert spread.shape == (2, 24)
    assert spread[1, 5].item() == pytest.approx(0.1, rel=1e-4)
    spread[1, 5] = 0
    assert spread.abs().max() < 1e-6


def test_where_bodies_stand_is_no_doubt_and_the_pelvis_is_what_they_are_measured_from():
    g = torch.Generator().manual_seed(1)
    joints = torch.zeros(5, 24, 3) + 3 * torch.randn(5, 1, 3, generator=g)
    assert joint_spread(joints).max() < 1e-5
    joints[:, 0, 1] += torch.tensor([0.2, -0.2, 0.2, -0.2, 0.0])
    spread = joint_spread(joints)
    assert spread[0] == 0 and (spread[1:] > 0.15).all()
    assert joint_spread(joints[:1]).max() == 0  # one hypothesis knows no doubt


def test_the_surface_is_measured_from_the_same_pelvis():
    g = torch.Generator().manual_seed(2)
    joints, vertices = torch.randn(6, 24, 3, generator=g), torch.randn(6, 40, 3, generator=g)
    spread = surface_spread(joints, vertices)
    expected = joint_spread(torch.cat([joints[:, :1], vertices], 1))[1:]
    assert spread.shape == (40,) and torch.equal(spread, expected)
