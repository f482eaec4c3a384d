"""The middle of a few frames, linked and smoothed."""

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import InputError
from hmralign.tracking.instant import smoothed_instants

BODY = load_free_body("3k5")
SECONDS = (-0.2, -0.1, 0.0, 0.1, 0.2)


def moving(hyps: int = 6, degrees: float = 4.0, seed: int = 0, persons: int = 4):
    """Groups about a steady motion, and its middle pose."""
    generator = torch.Generator().manual_seed(seed)
    middle = 0.4 * torch.randn(persons, 1, 1, 24, 3, generator=generator)
    motion = 0.5 * torch.randn(persons, 1, 1, 24, 3, generator=generator) * torch.tensor(SECONDS)[:, None, None, None]
    truth = rotvec_to_rotmat(middle) @ rotvec_to_rotmat(motion)  # (person, frame, 1, 24, 3, 3)
    shape = (persons, len(SECONDS), 1, 24, 3)
    wrong = torch.deg2rad(torch.tensor(degrees)) * torch.randn(shape, generator=generator)
    each = torch.deg2rad(torch.tensor(2.0)) * torch.randn(persons, len(SECONDS), hyps, 24, 3, generator=generator)
    groups = truth @ rotvec_to_rotmat(wrong) @ rotvec_to_rotmat(each)
    return groups, torch.zeros(persons, len(SECONDS), hyps, 10), truth[:, 2, 0]


def off(rotmats, truth):
    return torch.rad2deg(rotmat_to_rotvec(truth.mT @ rotmats).norm(dim=-1)).square().mean().sqrt()


def test_the_middle_of_a_track_is_nearer_to_the_truth_than_its_frame_alone():
    groups, betas, truth = moving()
    found = smoothed_instants(BODY, groups, betas, SECONDS, 2)
    assert found.rotmats.shape == (4, 1, 24, 3, 3) and found.betas.shape == (4, 1, 10)
    alone = off(groups[:, 2, 0], truth)
    assert off(found.rotmats[:, 0], truth) < 0.75 * alone


def test_a_middle_frame_that_contradicts_its_neighbours_hardly_counts():
    groups, betas, truth = moving(degrees=0.5)
    turned = groups.clone()
    turned[:, 2, :, 0] = turned[:, 2, :, 0] @ rotvec_to_rotmat(torch.tensor([0.0, 3.0, 0.0]))  # seen from behind
    found = smoothed_instants(BODY, turned, betas, SECONDS, 2)
    assert off(found.rotmats[:, 0, 0], truth[:, 0]) < 20 < off(turned[:, 2, 0, 0], truth[:, 0])


def test_one_mode_of_the_middle_frame_is_chosen_by_its_neighbours():
    groups, betas, truth = moving(degrees=0.5)
    flipped = groups.clone()
    flipped[:, 2, ::2, 18] = flipped[:, 2, ::2, 18] @ rotvec_to_rotmat(torch.tensor([0.0, 0.0, 2.0]))
    found = smoothed_instants(BODY, flipped, betas, SECONDS, 2)
    assert off(found.rotmats[:, 0, 18], truth[:, 18]) < 10 < off(flipped[:, 2, 0, 18], truth[:, 18])


def test_persons_do_not_depend_on_one_another_and_times_have_to_grow():
    groups, betas, _ = moving()
    one = groups[1:2], betas[1:2]
    both = smoothed_instants(BODY, groups, betas, SECONDS, 2).rotmats[1:2]
    assert torch.allclose(smoothed_instants(BODY, *one, SECONDS, 2).rotmats, both, atol=1e-5)
    with pytest.raises(InputError, match="growing"):
        smoothed_instants(BODY, *one, (0.0, -0.1, 0.0, 0.1, 0.2), 2)
