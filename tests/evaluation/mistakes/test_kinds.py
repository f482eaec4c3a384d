"""Planted mistakes are found as what they are, the truth makes none, and the mirror changes sides and nothing else."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.evaluation.mistakes.kinds import (
    EXCHANGED,
    FLIP,
    HIDDEN,
    IMAGE,
    ORIENTATION,
    SMALL,
    TILT,
    TWIST,
    WRONG,
    angle,
    mistakes,
    turned_away,
)
from hmralign.evaluation.mistakes.planted import MISTAKES, flip_limb, planted
from hmralign.evaluation.mistakes.segments import MIRROR_SEGMENTS, NUMBER, SEGMENTS
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat
from hmralign.geometry.swing_twist import swing_between, twist_about
from hmralign.structures import Annotation, BodyParams, Hypotheses, InputError
from hmralign.training.hypothesis_sets import WIDE_NOISE, perturbed_truth
from support.synthetic_persons import BODY, mirrored_body, persons, seeded

TRUTH = persons(60).annotation
SEEN = torch.zeros(60, len(SEGMENTS), dtype=torch.bool)
BY_NAME = {m.name: m for m in MISTAKES}
JOINT = {name: number for number, name in enumerate(JOINT_NAMES)}


def kinds_of(bodies: BodyParams, hidden=SEEN, truth=TRUTH):
    """Of one body per person."""
    group = BodyParams.stack([bodies], dim=1)
    return mistakes(BODY, Hypotheses(group, posed_joints(BODY, group)), truth, hidden)[:, 0]


def off(bodies: BodyParams):
    """Angle of every segment."""
    ends = [(s.start, s.end) for s in SEGMENTS]
    a, b = (torch.stack([j[:, e] - j[:, s] for s, e in ends], 1) for j in (posed_joints(BODY, bodies), TRUTH.joints))
    return angle(a, b)


def posed(changes) -> BodyParams:
    """The truth with some parent-relative rotations replaced: {joint: rotations}."""
    rotmats = TRUTH.body.rotmats.clone()
    for joint, rotation in changes.items():
        rotmats[:, JOINT[joint]] = rotation
    return replace(TRUTH.body, global_orient=rotmats[:, 0], body_pose=rotmats[:, 1:])


def numbers(*names):
    return [NUMBER[n] for n in names]


def test_the_truth_makes_no_mistake_wherever_it_stands_and_whatever_its_size():
    assert (kinds_of(TRUTH.body) == SMALL).all()
    moved = replace(TRUTH.body, transl=TRUTH.body.transl * 1.3, betas=TRUTH.body.betas * 0.8)
    assert (kinds_of(moved) == SMALL).float().mean() > 0.99  # other proportions turn a short segment a little


@pytest.mark.parametrize(("planted_as", "parts"), [("arms swapped", ("upper arm", "forearm")),
                                                   ("legs swapped", ("thigh", "shin"))])  # fmt: skip
def test_swapped_limbs_are_exchanged_sides(planted_as, parts):
    bodies = planted(BODY, TRUTH.body, BY_NAME[planted_as]).pair.body[:, 1]
    limbs = numbers(*(f"{side} {part}" for side in ("left", "right") for part in parts))
    kinds, wrong = kinds_of(bodies)[:, limbs], (off(bodies) >= WRONG)[:, limbs]
    assert wrong.sum() > 30
    assert (kinds[wrong] == EXCHANGED).float().mean() > 0.9
    rest = [n for n, s in enumerate(SEGMENTS) if not any(w in s.name for w in (*parts, "hand", "foot"))]
    assert (kinds_of(bodies)[:, rest] == SMALL).all()


def test_a_limb_flipped_in_depth_is_a_depth_flip():
    chain = (JOINT["left_shoulder"], JOINT["left_elbow"], JOINT["left_wrist"])
    bodies = flip_limb(BODY, TRUTH.body, chain)
    kinds, angles = kinds_of(bodies), off(bodies)
    arm, others = numbers("left upper arm", "left forearm"), numbers("trunk", "head", "right forearm", "left thigh")
    wrong = angles[:, arm] >= WRONG
    assert wrong.sum() > 40 and (kinds[:, arm][wrong] == FLIP).float().mean() > 0.95
    assert (kinds[:, others] == SMALL).all()
    any_limb = planted(BODY, TRUTH.body, BY_NAME["limb flipped in depth"]).pair.body[:, 1]
    wrong = off(any_limb) >= WRONG
    wrong[:, numbers("left hand", "right hand", "left foot", "right foot")] = False
    assert (kinds_of(any_limb)[wrong] == FLIP).float().mean() > 0.95


def test_a_twisted_torso_is_a_twist_of_the_trunk_and_carries_the_arms():
    bodies = planted(BODY, TRUTH.body, BY_NAME["torso twisted"]).pair.body[:, 1]
    kinds, wrong = kinds_of(bodies), off(bodies) >= WRONG
    assert (kinds[:, 0] == TWIST).float().mean() > 0.9  # a trunk that is bent turns about another axis
    twisted = kinds[:, 0] == TWIST
    arms = numbers("left upper arm", "left forearm", "right upper arm", "right forearm", "head")
    assert (kinds[:, arms][wrong[:, arms] & twisted[:, None]] == TWIST).all()
    assert (kinds[:, numbers("left thigh", "right shin")] == SMALL).all()


def test_a_bone_turned_about_itself_is_a_twist_and_so_is_what_hangs_on_it():
    rotmats, forearm = (
        TRUTH.body.rotmats,
        BODY.J_template[JOINT["left_elbow"]] - BODY.J_template[JOINT["left_shoulder"]],
    )
    axis = torch.nn.functional.normalize(forearm, dim=0)
    turn = twist_about(axis, torch.tensor([0.0, 1.0]))  # a quarter
    bodies = posed({"left_shoulder": rotmats[:, JOINT["left_shoulder"]] @ turn})
    kinds, wrong = kinds_of(bodies), off(bodies) >= WRONG
    upper, lower = numbers("left upper arm", "left forearm")
    assert not wrong[:, upper].any() and (kinds[:, upper] == TWIST).all()
    assert wrong[:, lower].sum() > 20
    # Where the upper arm lies in the picture, the forearm is flipped in depth by the very same turn.
    assert torch.isin(kinds[wrong[:, lower], lower], torch.tensor([TWIST, FLIP])).all()
    assert (kinds[wrong[:, lower], lower] == TWIST).float().mean() > 0.6


def test_a_body_that_faces_away_has_the_wrong_orientation_and_so_has_all_of_it():
    about = axis_rotmat("y", torch.tensor(torch.pi))
    bodies = posed({"pelvis": TRUTH.body.global_orient @ about})
    kinds, wrong = kinds_of(bodies), off(bodies) >= WRONG
    facing = kinds[:, 0] == ORIENTATION
    assert facing.float().mean() > 0.9  # a body that bends far has its trunk across, which is then flipped in depth
    assert (kinds[wrong & facing[:, None]] == ORIENTATION).all()
    turned = turned_away(Hypotheses(BodyParams.stack([bodies], 1), posed_joints(BODY, bodies)[:, None]), TRUTH)
    torch.testing.assert_close(turned, torch.full((60, 1), torch.pi), atol=2e-3, rtol=0)


def test_a_shin_tilted_too_much_is_a_tilt_and_one_turned_in_the_picture_is_in_the_image():
    hip, knee = JOINT["left_hip"], JOINT["left_knee"]
    rotmats = TRUTH.body.rotmats
    from hmralign.body.lbs import forward_kinematics, rest_joints

    G, _ = forward_kinematics(rest_joints(BODY, TRUTH.body.betas), rotmats, BODY.parents)
    ray = torch.nn.functional.normalize(TRUTH.joints[:, knee], dim=-1)
    shin = torch.nn.functional.normalize(TRUTH.joints[:, JOINT["left_ankle"]] - TRUTH.joints[:, knee], dim=-1)
    deep = (shin * ray).sum(-1)
    across = torch.nn.functional.normalize(shin - deep[:, None] * ray, dim=-1)
    tilted = torch.where(deep.abs()[:, None] < 0.5, 0.17 * across + 0.985 * deep.sign()[:, None] * ray, across)
    aside = 0.9 * shin.norm(dim=-1)[:, None] * torch.linalg.cross(ray, across) - 0.4 * across
    for wanted, expected in ((tilted, TILT), (aside, IMAGE)):
        new = torch.nn.functional.normalize(wanted, dim=-1)
        bodies = posed({"left_knee": G[:, hip].mT @ swing_between(shin, new) @ G[:, knee]})
        far = off(bodies)[:, NUMBER["left shin"]] >= WRONG
        clear = far & (deep.abs() < 0.85) & ((deep.abs() > 0.1) | torch.tensor(expected == IMAGE))
        assert clear.sum() > 20
        assert (kinds_of(bodies)[clear, NUMBER["left shin"]] == expected).float().mean() > 0.95
        hidden = SEEN.clone()
        hidden[:, NUMBER["left shin"]] = True
        assert (kinds_of(bodies, hidden)[clear, NUMBER["left shin"]] == HIDDEN).float().mean() > 0.95


def test_the_mirror_changes_sides_and_nothing_else():
    bodies = perturbed_truth(TRUTH, 4, WIDE_NOISE, seeded(2))
    hidden = torch.rand(60, len(SEGMENTS), generator=seeded(3)) < 0.3
    kinds = mistakes(BODY, Hypotheses(bodies, posed_joints(BODY, bodies)), TRUTH, hidden)
    other, truth = mirrored_body(bodies), mirrored_body(TRUTH.body)
    joints = posed_joints(BODY, truth)
    swap = list(MIRROR_SEGMENTS)
    got = mistakes(BODY, Hypotheses(other, posed_joints(BODY, other)), Annotation(truth, joints), hidden[:, swap])
    assert len(kinds.unique()) > 5
    # The body is even only to some millimetres, so that a few segments fall on the other side of a threshold.
    assert (got[..., swap] == kinds).float().mean() > 0.98


def test_kinds_depend_on_neither_the_other_hypotheses_nor_the_other_persons():
    bodies = perturbed_truth(TRUTH, 3, WIDE_NOISE, seeded(4))
    group = Hypotheses(bodies, posed_joints(BODY, bodies))
    whole = mistakes(BODY, group, TRUTH, SEEN)
    part = Hypotheses(group.body[5:9, 1:2], group.joints[5:9, 1:2])
    assert torch.equal(mistakes(BODY, part, TRUTH[5:9], SEEN[5:9]), whole[5:9, 1:2])


def test_small_changes_are_no_mistake_and_persons_must_be_the_same():
    small = rotvec_to_rotmat(0.05 * torch.randn(60, 23, 3, generator=seeded(1)))
    assert (kinds_of(replace(TRUTH.body, body_pose=TRUTH.body.body_pose @ small)) == SMALL).float().mean() > 0.99
    with pytest.raises(InputError, match="60 groups, 59 truths"):
        kinds_of(TRUTH.body, truth=TRUTH[:59])
