"""`person.refine` in Python: a typed sentence, keypoints alone, and what is refused."""

import numpy as np
import pytest
import torch

from hmralign import Recoverer
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.structures import InputError
from hmralign.systems.language_refinement import pictures
from hmralign.systems.language_refinement.answer import refine_recovered
from support.recover_example import example_photo


@pytest.fixture(scope="module")
def person():
    rgb, points = example_photo()
    with Recoverer.load(detector=None, num_hypotheses=4) as recoverer:
        return recoverer(rgb, keypoints=points[None])[0]


def test_a_typed_sentence_pulls_on_the_body_and_says_what_came_of_it(person):
    refined = person.refine(text="the left arm is stretched forward; bananas", keypoint_weight=1e-3, text_weight=3.0)
    ((name, (before, after)),) = refined.statements.items()
    assert name == "left_arm_forward" and after > before
    losses = refined.refinement.text_loss
    assert float(losses[-1]) < float(losses[0]) and any("bananas" in note for note in refined.notes)
    torch.testing.assert_close(refined.before.transl, person.fused.transl)
    assert refined.vertices().shape == refined.vertices("before").shape == person.vertices().shape
    hands = (refined.joints() - refined.joints("before"))[[22, 23]].norm(dim=-1)
    assert hands[0] > hands[1], "the left hand moved more than the right one"
    torch.testing.assert_close(
        refined.to_rotvec()["body_pose"], rotmat_to_rotvec(refined.body.body_pose).flatten(), atol=1e-5, rtol=0
    )
    assert "left_arm_forward" in repr(refined)


def test_keypoints_alone_and_the_caption(person):
    alone = person.refine()
    assert alone.statements == {} and float(alone.refinement.keypoint_loss[-1]) <= float(
        alone.refinement.keypoint_loss[0]
    )
    again = person.refine()
    torch.testing.assert_close(again.body.body_pose, alone.body.body_pose, atol=0, rtol=0)
    control = person.refine(describe="caption")
    assert all(before > 0.5 for before, _ in control.statements.values())


def test_the_weights_that_come_with_the_package_move_the_body_besides(person):
    plain, learned = person.refine(text="sitting"), person.refine(text="sitting", refiner="refiner")
    assert not torch.allclose(plain.body.body_pose, learned.body.body_pose, atol=1e-3)
    with pytest.raises(InputError, match="nothing"):
        person.refine(refiner="nothing.safetensors")


def test_it_is_saved_as_the_command_does(person, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "SIDE", 64)
    folder = person.refine(text="sitting").save(tmp_path / "out")
    assert (folder / "report.html").is_file() and (folder / "overlay.png").is_file()
    with pytest.raises(InputError, match="other settings"):
        person.refine().save(folder)
    person.refine().save(folder, overwrite=True)
    assert np.load(folder / "person_0" / "refinement.npz", allow_pickle=False)["statements"].shape == (0,)


def test_what_is_refused(person):
    with pytest.raises(InputError, match="nothing to refine by"):
        person.refine(keypoint_weight=0.0)
    with pytest.raises(InputError, match="one of them"):
        person.refine(text="sitting", describe="caption")
    with pytest.raises(InputError, match="contradicts itself"):
        person.refine(text="sitting and standing")


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("text", 5, "the text is 5; expected words"),
        ("text", b"sitting", "the text is b'sitting'"),
        ("text", ["sitting"], r"the text is \['sitting'\]"),
        ("describe", 3, "describe is 3"),
        ("describe", ["caption"], "describe is"),
        ("keypoint_weight", "much", "keypoint_weight is much; expected a number"),
        ("keypoint_weight", float("nan"), "keypoint_weight is nan"),
        ("text_weight", -1, "text_weight is -1"),
        ("text_weight", True, "text_weight is True"),
        ("refiner", 7, "refiner is 7"),
        ("seed", 0.5, "seed is 0.5; expected a whole number"),
        ("seed", -3, "seed is -3"),
        ("seed", None, "seed is None"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_one_sentence(person, argument, value, words):
    # Under test the signature of `Person.refine` is enforced; to a user it is not.
    with pytest.raises(InputError, match=words):
        refine_recovered(person._photo, person.number, person.body, **{argument: value})
