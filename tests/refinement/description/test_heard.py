"""Answers about the mirrored picture come back in the person's own left and right."""

from collections import Counter

from hmralign.refinement.description.answers import PartAnswer
from hmralign.refinement.description.heard import (
    Heard,
    HeardPerson,
    PartQuestion,
    heard,
    part_questions,
)
from hmralign.refinement.description.prompts import ASKED_PARTS, DescribeOptions


def test_an_answer_of_the_mirrored_picture_is_turned_back():
    answer = PartAnswer("clearly", "The left arm is raised.")
    assert heard(PartQuestion("left_arm", "?", False), answer) == Heard("left_arm", False, "clearly", answer.text)
    back = heard(PartQuestion("left_arm", "?", True), answer)
    assert back == Heard("right_arm", True, "clearly", "The right arm is raised.")


def test_every_part_is_asked_about_in_both_pictures():
    questions = list(part_questions("a", DescribeOptions(samples=3, mirrored_samples=2)))
    counts = Counter((q.part, q.mirrored) for q in questions)
    assert counts == {**{(p, False): 3 for p in ASKED_PARTS}, **{(p, True): 2 for p in ASKED_PARTS}}
    assert questions == list(part_questions("a", DescribeOptions(samples=3, mirrored_samples=2)))


def test_how_well_a_part_was_seen():
    answers = (
        Heard("head", False, "clearly", "Turned left."),
        Heard("head", True, "partly", "Turned."),
        Heard("head", False, "no", ""),
        Heard("torso", False, "no", ""),
    )
    person = HeardPerson("a", answers)
    assert person.texts("head") == ("Turned left.", "Turned.") and person.texts("torso") == ()
    assert person.seen_share("head") == 0.5 and person.seen_share("torso") == 0.0 == person.seen_share("left_arm")
