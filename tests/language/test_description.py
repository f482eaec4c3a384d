"""Descriptions: mirrored, divided by parts, refused where they are wrong."""

import pytest

from hmralign.language.description import PoseDescription, in_vocabulary_order, mirrored_text
from hmralign.structures import InputError

DESCRIPTION = PoseDescription(
    (
        ("overall", "Standing."),
        ("left_arm", "The left hand is on the right knee."),
        ("right_leg", "The right leg bends."),
    ),
    (("standing", True), ("left_hand_on_right_knee", True), ("right_knee_bent", False)),
    "typed",
    ("the left whatever",),
)


def test_text_of_parts():
    assert DESCRIPTION.text() == "Standing. The left hand is on the right knee. The right leg bends."
    assert DESCRIPTION.text(("right_leg", "overall")) == "Standing. The right leg bends."
    assert DESCRIPTION.text(("head",)) == ""
    assert DESCRIPTION.of_part("left_arm") == (("left_hand_on_right_knee", True),)


def test_the_mirror_exchanges_sides_in_words_parts_and_statements():
    mirrored = DESCRIPTION.mirrored()
    assert mirrored.text() == "Standing. The right hand is on the left knee. The left leg bends."
    assert [part for part, _ in mirrored.texts] == ["overall", "right_arm", "left_leg"]
    assert set(mirrored.statements) == {
        ("standing", True),
        ("right_hand_on_left_knee", True),
        ("left_knee_bent", False),
    }
    assert mirrored.unread == ("the right whatever",)
    assert mirrored.mirrored() == PoseDescription(
        DESCRIPTION.texts, in_vocabulary_order(DESCRIPTION.statements), "typed", DESCRIPTION.unread
    )


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("Left, left-handed, leftwards", "Right, right-handed, rightwards"),
        ("at a right angle to the right", "at a right angle to the left"),
        ("upright and cleft", "upright and cleft"),
        ("RIGHT", "LEFT"),
    ],
)
def test_words_through_the_mirror(text, mirrored):
    assert mirrored_text(text) == mirrored and mirrored_text(mirrored) == text


def test_wrong_descriptions_are_refused():
    with pytest.raises(InputError, match="no part 'tail'"):
        PoseDescription((("tail", "Wags."),), (), "vlm")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no statement 'wagging'"):
        PoseDescription((), (("wagging", True),), "vlm")
    with pytest.raises(InputError, match="both that it holds and that it does not"):
        PoseDescription((), (("standing", True), ("standing", False)), "vlm")
