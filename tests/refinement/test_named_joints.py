"""Which joints turn for a statement."""

import torch

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.language.statements import STATEMENTS, row_of
from hmralign.refinement.named_joints import named_joints


def names(*statements: str) -> set[str]:
    wanted = torch.zeros(1, len(STATEMENTS))
    for statement in statements:
        wanted[0, row_of(statement)] = -1.0
    return {JOINT_NAMES[joint] for joint in named_joints(wanted)[0].nonzero()[:, 0].tolist()}


def test_a_statement_names_the_limb_that_it_is_on():
    assert names("left_hand_in_front") == {"left_collar", "left_shoulder", "left_elbow", "left_wrist"}
    assert names("right_knee_nearer_than_other") == {"right_hip", "right_knee", "right_ankle", "right_foot"}
    assert names() == set()


def test_several_statements_name_all_their_limbs():
    assert names("head_down", "left_hand_in_front") == names("head_down") | names("left_hand_in_front")
    assert names("sitting") == set(JOINT_NAMES[:NUM_JOINTS])


def test_a_hand_that_reaches_a_leg_brings_trunk_and_leg_along():
    assert {"spine1", "right_knee", "left_elbow"} <= names("left_hand_on_right_knee")
    assert not {"left_knee", "right_elbow"} & names("left_hand_on_right_knee")
    assert names("left_hand_on_right_elbow") == names("left_hand_in_front", "right_hand_in_front")
