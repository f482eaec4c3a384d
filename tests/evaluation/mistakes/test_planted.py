"""Planted mistakes are the mistakes that they are called, and critics see those that they can see."""

import numpy as np
import pytest
import torch

from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS
from hmralign.critics.controls import OracleCritic, RandomCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.reprojection import ReprojectionCritic
from hmralign.evaluation.mistakes.planted import (
    DEPTH_FACTOR,
    LEAST_OVERLAP,
    LIFT,
    MISTAKES,
    SIZE_FACTOR,
    TWIST,
    flip_limb,
    planted,
    planted_table,
    resized,
)
from hmralign.geometry.cameras import project
from hmralign.structures import Example, InputError
from support.synthetic_persons import BODY, exact, persons, seeded

PERSONS = exact(persons(24))
TRUTH = PERSONS.annotation.body
BY_NAME = {m.name: m for m in MISTAKES}
JOINTS = posed_joints(BODY, TRUTH)


def wrong(name, seed=0):
    made = planted(BODY, TRUTH, BY_NAME[name], seed)
    return made, made.pair.body[:, 1], made.pair.joints[:, 1]


def named(*names):
    return [JOINT_NAMES.index(n) for n in names]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_a_mistake_is_a_body_depends_on_its_seed_alone_and_stands_beside_the_truth(mistake):
    made, again = planted(BODY, TRUTH, mistake, 3), planted(BODY, TRUTH, mistake, 3)
    assert torch.equal(made.pair.joints, again.pair.joints)
    torch.testing.assert_close(made.pair.joints[:, 0], JOINTS)
    rotmats = made.pair.body.rotmats
    torch.testing.assert_close(rotmats @ rotmats.mT, torch.eye(3).expand_as(rotmats), atol=1e-4, rtol=0)
    assert made.counts.any() and (made.moved[made.counts] >= 0.01).all()


def test_swapping_limbs_twice_is_nothing_and_leaves_the_rest_alone():
    _, body, joints = wrong("legs swapped")
    rest = [j for j in range(29) if not any(w in JOINT_NAMES[j] for w in ("knee", "ankle", "foot", "toe"))]
    torch.testing.assert_close(joints[:, rest], JOINTS[:, rest], atol=1e-5, rtol=0)
    back = BY_NAME["legs swapped"].plant(BODY, body, seeded(0))
    torch.testing.assert_close(back.rotmats, TRUTH.rotmats)
    # Seen from the pelvis, the left knee is where the mirror shows the right one.
    pelvis, true = ((j - j[:, :1]) @ TRUTH.global_orient for j in (joints, JOINTS))
    for joint in named("left_knee", "right_ankle"):
        expected = true[:, MIRROR_JOINTS[joint]] * torch.tensor([-1.0, 1.0, 1.0])
        torch.testing.assert_close(pelvis[:, joint], expected, atol=2e-2, rtol=0)  # the body is not quite even


def test_a_flipped_limb_keeps_its_length_and_its_offset_across_the_view():
    chain = tuple(named("left_shoulder", "left_elbow", "left_wrist"))
    joints = posed_joints(BODY, flip_limb(BODY, TRUTH, chain))
    view = torch.nn.functional.normalize(JOINTS[:, chain[0]], dim=-1)
    for start, stop in ((0, 1), (1, 2)):
        bone, new = (j[:, chain[stop]] - j[:, chain[start]] for j in (JOINTS, joints))
        torch.testing.assert_close((new * view).sum(-1), -(bone * view).sum(-1), atol=1e-5, rtol=0)
        across = [b - (b * view).sum(-1, keepdim=True) * view for b in (bone, new)]
        torch.testing.assert_close(across[0], across[1], atol=1e-5, rtol=0)
    others = [j for j in range(24) if j not in (*chain, JOINT_NAMES.index("left_hand"))]
    torch.testing.assert_close(joints[:, others], JOINTS[:, others], atol=1e-5, rtol=0)


def test_what_counts_as_through_the_body_is_seen_by_the_capsules():
    made, body, joints = wrong("through the body")
    assert made.counts.float().mean() > 0.5
    table = planted_table({"plausibility": PlausibilityCritic(BODY)}, BODY, PERSONS, draws=50)
    assert table["through the body"]["critics"]["plausibility"]["rate"][0] > 0.9
    from hmralign.body.capsules import self_penetration

    more = self_penetration(BODY, joints, body.betas) - self_penetration(BODY, JOINTS, TRUTH.betas)
    assert (more[made.counts] >= LEAST_OVERLAP).all()


def test_places_and_sizes_are_as_said():
    _, _, lifted = wrong("off the ground")
    torch.testing.assert_close(JOINTS - lifted, torch.tensor([0.0, LIFT, 0.0]).expand_as(JOINTS), atol=1e-5, rtol=0)
    _, _, moved = wrong("wrong depth")
    ratio = moved[:, 0] / JOINTS[:, 0]
    assert torch.allclose(ratio[:, 2].log().abs(), torch.tensor(DEPTH_FACTOR).log(), atol=1e-4)
    torch.testing.assert_close(
        project(moved[:, :1], PERSONS.observation.K), project(JOINTS[:, :1], PERSONS.observation.K)
    )

    taller = resized(BODY, TRUTH, torch.full((24,), SIZE_FACTOR))
    heights = [
        (r[:, JOINT_NAMES.index("head_top"), 1] - r[:, JOINT_NAMES.index("left_big_toe_tip"), 1])
        for r in (rest_joints(BODY, TRUTH.betas), rest_joints(BODY, taller.betas))
    ]
    torch.testing.assert_close(heights[1] / heights[0], torch.full((24,), SIZE_FACTOR))
    torch.testing.assert_close(posed_joints(BODY, taller)[:, 0], JOINTS[:, 0], atol=1e-5, rtol=0)


def test_the_twist_turns_the_shoulders_by_its_angle_and_leaves_the_legs():
    _, body, joints = wrong("torso twisted")
    legs = named("left_hip", "left_knee", "right_ankle", "right_foot")
    torch.testing.assert_close(joints[:, legs], JOINTS[:, legs], atol=1e-5, rtol=0)
    from hmralign.geometry.rotations import rotmat_angle

    turned = rotmat_angle(body.body_pose[:, 2], TRUTH.body_pose[:, 2])  # spine1
    torch.testing.assert_close(turned, torch.full((24,), TWIST / 3), atol=1e-3, rtol=0)


def test_critics_see_what_they_can_see():
    draw = RandomCritic(seeded(0))
    critics = {"oracle": OracleCritic(), "reprojection": ReprojectionCritic(BODY), "random": draw}
    table = planted_table(critics, BODY, PERSONS, draws=100)
    assert list(table) == [m.name for m in MISTAKES]
    rates = {n: {c: v["rate"] for c, v in row["critics"].items()} for n, row in table.items()}
    # Keypoints that are exact fit nothing better than the truth ...
    for name in ("arms swapped", "off the ground", "wrong depth", "wrong size", "torso twisted", "through the body"):
        assert rates[name]["reprojection"][0] > 0.95, name
        low, high = rates[name]["random"][1:]
        assert low < 0.75 and high > 0.25, name
    # ... and the oracle is about the pelvis, so it does not see where the body stands.
    assert table["wrong depth"]["critics"]["oracle"] == {"rate": [0.5, 0.5, 0.5], "tied": 1.0}
    assert rates["limb flipped in depth"]["oracle"] == [1.0, 1.0, 1.0]
    assert rates["limb flipped in depth"]["reprojection"][0] < rates["torso twisted"]["reprojection"][0] + 1e-9


def test_persons_on_whom_a_mistake_changes_nothing_are_left_out(monkeypatch):
    monkeypatch.setattr("hmralign.evaluation.mistakes.planted.LIFT", 0.001)
    table = planted_table({"oracle": OracleCritic()}, BODY, PERSONS, draws=10)
    assert table["off the ground"] == {"persons": 0}


def test_truth_is_needed():
    with pytest.raises(InputError, match="truth"):
        planted_table({}, BODY, Example(PERSONS.observation), np.arange(24))
