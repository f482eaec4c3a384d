import pytest

from hmralign.critics.vlm.answers import TAGS
from hmralign.critics.vlm.memory.tags import _PATTERNS, tags_of
from hmralign.structures.critique import RULE_TAGS


def test_the_vocabulary_is_that_of_the_judge():
    assert RULE_TAGS == TAGS == tuple(_PATTERNS)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("The left knee is behind the right one.", ("depth_order", "legs")),
        ("Body faces away although the head is turned", ("facing", "head")),
        ("hand passes through the belly", ("hands", "penetration", "torso")),
        ("Arms swapped; elbow hyperextended", ("arms", "joint_limits", "left_right")),
        ("feet cut off at the border", ("feet", "truncation")),
        ("good", ()),
        ("charming shipwreck", ()),
    ],
)
def test_tags_follow_the_words(text, tags):
    assert tags_of(text) == tags
