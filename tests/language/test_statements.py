"""Which statements hold for poses that were typed to satisfy them, and the shape of the vocabulary."""

import pytest
import torch

from hmralign.language.agreement import holds, margins, measure
from hmralign.language.statements import FAMILIES, PARTS, STATEMENTS, mirrored_words, row_of
from hmralign.structures import InputError
from support.described_bodies import bodies_in, drawn_bodies, mirrored_body, posed

SEATED = {"left_hip": (-90, 0, 0), "right_hip": (-90, 0, 0), "left_knee": (90, 0, 0), "right_knee": (90, 0, 0)}
ARMS_DOWN = {"left_shoulder": (0, 0, -80), "right_shoulder": (0, 0, 80)}
FORWARD = {"left_shoulder": (0, -90, 0)}
BACK = (0, 180, 0)

POSES = {
    "rest": ({}, "left_arm_sideways right_arm_sideways left_elbow_straight standing facing_camera hands_far_apart"
             " feet_on_ground torso_upright left_hand_shoulder_height left_upper_arm_level"),
    "arms down": (ARMS_DOWN, "left_arm_down right_arm_down left_upper_arm_at_side right_forearm_hanging"
                  " left_arm_lowered"),
    "left arm up": ({"left_shoulder": (0, 0, 80)}, "left_arm_up left_hand_above_head left_elbow_above_shoulder"
                    " left_hand_higher_than_other left_hand_raised"),
    "left arm forward": (FORWARD, "left_arm_forward left_hand_nearer_than_torso left_hand_nearer_than_other"
                         " left_forearm_towards_camera left_upper_arm_towards_camera left_hand_in_front_of_other"),
    "left arm forward, seen from behind": ({"turn": BACK, **FORWARD}, "left_arm_forward left_hand_farther_than_torso"
                                           " left_forearm_away_from_camera right_hand_nearer_than_other back_to_camera"
                                           " left_hand_in_front_of_other"),
    "left arm back": ({"left_shoulder": (0, 60, 0)}, "left_arm_backward left_hand_behind"),
    "seated": (SEATED, "sitting left_thigh_level right_knee_bent_square left_shin_upright left_knee_hip_height"
               " left_thigh_towards_camera"),
    "left knee raised": ({"left_hip": (-100, 0, 0), "left_knee": (100, 0, 0)}, "left_knee_hip_height left_foot_lifted"
                         " left_knee_higher_than_other left_knee_bent right_foot_on_ground"),
    "left leg back": ({"left_hip": (40, 0, 0)}, "left_leg_backward right_foot_in_front_of_other"),
    "left leg out": ({"left_hip": (0, 0, 40)}, "left_leg_sideways feet_wide_apart"),
    "on the back": ({"turn": (-90, 0, 0), **ARMS_DOWN}, "lying lying_on_back"),
    "on the face": ({"turn": (90, 0, 0), **ARMS_DOWN}, "lying lying_face_down"),
    "on the left side": ({"turn": (0, 0, -90), **ARMS_DOWN}, "lying left_lying_on_side"),
    "on the head": ({"turn": (180, 0, 0)}, "upside_down left_foot_hip_height"),
    "leaning forward": ({"turn": (30, 0, 0)}, "torso_leaning_forward torso_towards_camera"),
    "leaning back": ({"turn": (-30, 0, 0)}, "torso_leaning_back torso_away_from_camera"),
    "leaning left": ({"turn": (0, 0, -20)}, "left_torso_leaning_side"),
    "bent over": ({"spine1": (40, 0, 0), "spine2": (40, 0, 0), "spine3": (30, 0, 0)}, "torso_bent_over standing"),
    "shoulders left": ({"spine1": (0, 15, 0), "spine2": (0, 15, 0)}, "left_shoulders_turned"),
    "left side seen": ({"turn": (0, -90, 0)}, "left_side_to_camera left_shoulder_nearer_than_other"),
    "head left": ({"head": (0, 40, 0)}, "left_head_turned"),
    "head down": ({"neck": (30, 0, 0)}, "head_down"),
    "head back": ({"head": (-30, 0, 0)}, "head_up"),
    "head tilted left": ({"head": (0, 0, -25)}, "left_head_tilted"),
    "hand on hip": ({"left_shoulder": (0, 0, -45), "left_elbow": (0, 0, -75)}, "left_hand_on_left_hip"),
    "left forearm level": ({**ARMS_DOWN, "left_elbow": (0, -90, 0)}, "left_forearm_level left_elbow_bent_square"
                           " left_hand_nearer_than_torso"),
    "ankles crossed": ({"left_hip": (-8, 0, -13), "right_hip": (0, 0, 13)}, "legs_crossed left_leg_crossed_over_other"),
}  # fmt: skip


@pytest.mark.parametrize("name", POSES)
def test_typed_poses(name):
    turned, expected = POSES[name]
    joints, rotmats = posed(**turned)
    true = {s.id for s, h in zip(STATEMENTS, holds(joints, rotmats)[0].tolist(), strict=True) if h}
    if name == "bent over":  # a torso that hangs is not upright enough to be "standing"
        expected = expected.replace(" standing", "")
    missing = set(expected.split()) - true
    assert not missing, f"{missing} missing among {sorted(true)}"
    # What holds here says something: its mirror image does not, but where both sides do the same.
    both = {s.id for s in STATEMENTS if s.id in true and s.mirror in true and s.mirror != s.id}
    sided = {s for s in expected.split() if mirrored_words(s) != s}
    if name in ("left arm forward", "left arm back", "left knee raised", "left leg back", "head left", "leaning left"):
        assert not {s for s in sided if s in both and "on_ground" not in s}


@pytest.mark.parametrize(
    ("posture", "statement", "least", "most"),
    [("stand", "standing", 1.0, 1.0), ("chair", "sitting", 0.7, 1.0), ("chair", "standing", 0.0, 0.0),
     ("crouch", "crouching", 0.65, 1.0), ("crouch", "sitting", 0.0, 0.3), ("lying", "lying", 0.65, 1.0),
     ("all_fours", "lying", 0.0, 0.05), ("chair", "lying", 0.0, 0.0), ("kneel", "standing", 0.0, 0.0)],
)  # fmt: skip
def test_postures_that_are_drawn_under_a_name_are_called_by_it(posture, statement, least, most):
    share = holds(*bodies_in(posture, 200))[:, row_of(statement)].float().mean().item()
    assert least <= share <= most


def test_in_front_of_the_body_is_not_nearer_to_the_camera():
    front, nearer, farther = (
        row_of(f"left_hand_{n}") for n in ("in_front_of_other", "nearer_than_torso", "farther_than_torso")
    )
    seen_from_front, seen_from_behind = (holds(*posed(turn, **FORWARD))[0] for turn in ((0, 0, 0), BACK))
    assert seen_from_front[front] and seen_from_behind[front]
    assert seen_from_front[nearer] and not seen_from_front[farther]
    assert seen_from_behind[farther] and not seen_from_behind[nearer]


def test_left_is_the_persons_own_however_it_is_seen():
    row, mirror = row_of("left_arm_up"), row_of("right_arm_up")
    for turn in ((0, 0, 0), BACK, (0, 90, 0)):
        found = holds(*posed(turn, left_shoulder=(0, 0, 80)))[0]
        assert found[row] and not found[mirror]


def test_upright_is_against_the_given_up():
    row = row_of("torso_upright")
    joints, rotmats = posed((30, 0, 0))
    assert not holds(joints, rotmats)[0, row]
    up = rotmats[0, 0] @ torch.tensor([0.0, 1.0, 0.0])
    assert holds(joints, rotmats, up)[0, row]


def test_mirrored_bodies_have_mirrored_statements():
    bodies = drawn_bodies(40, 3)
    swap = [row_of(s.mirror) for s in STATEMENTS]
    torch.testing.assert_close(measure(*mirrored_body(*bodies))[:, swap], measure(*bodies), atol=2e-3, rtol=0)


def test_every_statement_holds_for_somebody_and_not_for_everybody():
    generator = torch.Generator().manual_seed(0)
    joints, rotmats, up = drawn_bodies(4000, 5)
    found = holds(joints, rotmats, up).float().mean(0)
    never = [s.id for s, share in zip(STATEMENTS, found.tolist(), strict=True) if share == 0]
    assert len(never) < 12, never
    assert found.max() < 0.95
    # and those that nobody drawn satisfies are no contradictions: somewhere near, their conditions meet
    some = joints[torch.randperm(4000, generator=generator)[:500]]
    assert margins(some).nan_to_num(-9).amax(0).min() > -20


def test_the_vocabulary_is_closed_under_the_mirror_and_its_ids_are_unique():
    ids = [s.id for s in STATEMENTS]
    assert len(set(ids)) == len(ids) >= 200 and {s.family for s in STATEMENTS} == set(FAMILIES)
    for statement in STATEMENTS:
        mirror = STATEMENTS[row_of(statement.mirror)]
        assert mirror.mirror == statement.id and mirror.family == statement.family
        assert mirrored_words(statement.part) == mirror.part and statement.part in PARTS
        assert {c.quantity.kind for c in statement.conditions} == {c.quantity.kind for c in mirror.conditions}
        assert all(c.low < c.high for c in statement.conditions)


def test_frames_are_what_statements_depend_on():
    frames = {s.id: s.frame for s in STATEMENTS}
    expected = {"left_elbow_bent": "body", "left_hand_on_right_knee": "body", "left_arm_forward": "body",
                "left_hand_above_head": "gravity", "standing": "gravity", "facing_camera": "camera",
                "left_hand_nearer_than_torso": "camera", "left_head_turned": "body"}  # fmt: skip
    assert {s: frames[s] for s in expected} == expected
    assert {s.id for s in STATEMENTS if s.needs_rotations} == {
        "head_down", "head_up", "left_head_turned", "right_head_turned", "left_head_tilted", "right_head_tilted",
    }  # fmt: skip


def test_an_unknown_statement_is_named():
    with pytest.raises(InputError, match="no statement 'left_wing_up'"):
        row_of("left_wing_up")
