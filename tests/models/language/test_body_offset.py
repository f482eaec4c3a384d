"""Offsets: zero is the initial body, and what is encoded comes back."""

import torch

from hmralign.geometry.rotations import random_rotmat, rotvec_to_rotmat
from hmralign.models.language.body_offset import OFFSET_DIM, BodyOffset, default_scale


def offset(seed: int, persons: int = 3) -> BodyOffset:
    draw = torch.Generator().manual_seed(seed)
    rotmats = random_rotmat((persons, 24), draw)
    return BodyOffset(rotmats, torch.randn(persons, 10, generator=draw), default_scale().expand(persons, -1))


def test_no_offset_is_the_initial_body():
    around = offset(0)
    rotmats, betas = around.to_body(torch.zeros(3, OFFSET_DIM))
    torch.testing.assert_close(rotmats, around.rotmats, atol=1e-5, rtol=0)
    assert torch.equal(betas, around.betas)


def test_a_body_comes_back_from_its_offset():
    around, draw = offset(1), torch.Generator().manual_seed(2)
    rotmats = around.rotmats @ rotvec_to_rotmat(0.4 * torch.randn(3, 24, 3, generator=draw))
    betas = torch.randn(3, 10, generator=draw)
    again = around.to_body(around.from_body(rotmats, betas))
    torch.testing.assert_close(again[0], rotmats, atol=1e-4, rtol=0)
    torch.testing.assert_close(again[1], betas, atol=1e-5, rtol=0)


def test_a_turn_of_eight_degrees_is_about_one_scale():
    around = offset(3)
    turned = around.rotmats @ rotvec_to_rotmat(torch.tensor([0.0, 0.0, 0.15]).expand(3, 24, 3))
    x = around.from_body(turned, around.betas)[:, :144]
    torch.testing.assert_close(x.unflatten(-1, (24, 6)).norm(dim=-1), torch.full((3, 24), 2**0.5), atol=5e-3, rtol=0)
