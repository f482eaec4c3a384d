"""Limb lengths of observed persons: the right bones, both sides alike, the pelvis in its place."""

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import rest_joints
from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS, NUM_ALL_JOINTS, PARENTS
from hmralign.data.synthetic.proportions import AS_MODELLED, PARTS, Proportions
from support.synthetic_persons import seeded

BODY = load_free_body("3k5")
REST = rest_joints(BODY, torch.randn(50, 10, generator=seeded(0)))


def lengths(joints):
    return (joints[:, 1:] - joints[:, list(PARENTS[1:])]).norm(dim=-1)


def test_every_bone_belongs_to_one_part():
    bones = sorted(bone for part in PARTS.values() for bone in part)
    assert bones == list(range(1, NUM_ALL_JOINTS))


def test_as_modelled_changes_nothing():
    torch.testing.assert_close(AS_MODELLED.stretch(REST, seeded(1)), REST, atol=1e-6, rtol=0)


def test_bones_keep_their_directions_and_sides_stay_alike():
    stretched = Proportions(sd=0.1).stretch(REST, seeded(1))
    assert torch.equal(stretched[:, 0], REST[:, 0])
    factor = lengths(stretched) / lengths(REST)
    swap = [j - 1 for j in MIRROR_JOINTS[1:]]
    torch.testing.assert_close(factor, factor[:, swap], atol=1e-5, rtol=0)
    turn = torch.cosine_similarity(
        stretched[:, 1:] - stretched[:, list(PARENTS[1:])], REST[:, 1:] - REST[:, list(PARENTS[1:])], dim=-1
    )
    assert turn.min() > 1 - 1e-5
    assert 0.05 < factor.log().std() < 0.15


def test_medians_are_those_of_the_configuration():
    rest = REST[:1].expand(4000, -1, -1)
    factor = lengths(Proportions(sd=0.05, thigh_mean=0.9, shank_mean=0.8).stretch(rest, seeded(2))) / lengths(rest)
    knee, ankle, elbow = (JOINT_NAMES.index(f"left_{name}") - 1 for name in ("knee", "ankle", "elbow"))
    assert factor[:, knee].median() == pytest.approx(0.9, abs=0.01)
    assert factor[:, ankle].median() == pytest.approx(0.8, abs=0.01)
    assert factor[:, elbow].median() == pytest.approx(1.0, abs=0.01)


def test_the_same_numbers_are_drawn_whatever_the_spread():
    a, b = seeded(5), seeded(5)
    Proportions(sd=0.1).stretch(REST, a)
    AS_MODELLED.stretch(REST, b)
    assert torch.equal(a.get_state(), b.get_state())
