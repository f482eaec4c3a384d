"""People refined: named limbs move as said, what cannot be refined is refused in one sentence."""

from dataclasses import replace

import pytest
import torch

from hmralign.data.keypoint_box import keypoint_box
from hmralign.data.prediction_file import UNKNOWN_DETECTOR
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.refinement.description.believed import Belief
from hmralign.refinement.pull import PullConfig
from hmralign.refinement.refine import RefineConfig
from hmralign.structures import BodyParams, Camera, InputError
from hmralign.systems.language_refinement.refined import (
    keypoint_distance,
    moved_limbs,
    refine_people,
    unfulfilled_notes,
)
from hmralign.systems.language_refinement.starts import InitialPeople, InitialPerson, known_noise
from hmralign.systems.language_refinement.wishes import (
    NOTHING_WANTED,
    captioned,
    heard_from_model,
    swapped_sides_note,
    typed,
    weighed_by_group,
)
from support.synthetic_persons import BODY, exact, persons, seeded

QUICK = RefineConfig(num_steps=2)


def start(row=0, *, group=0, turn=0.15, seen=True):
    """A person whose initial body is the truth, turned a little in every joint."""
    example = exact(persons(6))[row]
    truth, g = example.annotation.body, seeded(row)
    noise = turn * torch.randn(23, 3, generator=g)
    initial = replace(truth, body_pose=truth.body_pose @ rotvec_to_rotmat(noise))
    observation = example.observation
    if not seen:
        observation = replace(observation, confidence=torch.zeros(27))
    members = None
    if group:
        turns = rotvec_to_rotmat(0.2 * torch.randn(group, 23, 3, generator=g))
        members = BodyParams.stack([replace(initial, body_pose=initial.body_pose @ t) for t in turns])
    camera = Camera(observation.K, 1000, 1000, "given")
    return InitialPerson(f"p{row}", initial, observation, camera, known_noise("mediapipe"), "mediapipe", members)


def people(*starts):
    return InitialPeople(tuple(starts), "a test")


def test_keypoints_alone_bring_the_body_nearer_to_them():
    found = refine_people(people(start(0), start(1)), [NOTHING_WANTED] * 2, BODY, QUICK)
    for person in found.persons:
        losses = person.refinement.keypoint_loss
        assert float(losses[-1]) < float(losses[0]) and len(losses) == 3
        assert not person.wanted_text and person.truths(BODY) == [] and person.notes == ()


def test_a_named_limb_moves_as_said_and_the_rest_stays():
    words_lead = RefineConfig(num_steps=3, pull=PullConfig(keypoint_weight=1e-3, text_weight=2.0))
    wish = typed("the left arm is stretched forward")
    (found,) = refine_people(people(start(0, turn=0.05)), [wish], BODY, words_lead).persons
    ((name, before, after, weight),) = found.truths(BODY)
    assert name == "left_arm_forward" and weight == 1.0 and after > before + 0.1
    assert float(found.refinement.text_loss[-1]) < 0.2 * float(found.refinement.text_loss[0])
    moved = moved_limbs(found, BODY)
    assert moved["left hand"] > 0.1 and moved["left hand"] > 3 * max(moved["right hand"], moved["right foot"]), moved


def test_nobody_depends_on_who_else_is_there():
    pair = refine_people(people(start(0), start(1)), [typed("legs crossed"), NOTHING_WANTED], BODY, QUICK)
    alone = refine_people(people(start(0)), [typed("legs crossed")], BODY, QUICK)
    torch.testing.assert_close(pair.persons[0].body.body_pose, alone.persons[0].body.body_pose, atol=1e-4, rtol=0)


def test_a_group_says_in_which_directions_a_body_may_move():
    with_group = refine_people(people(start(2, group=8)), [NOTHING_WANTED], BODY, QUICK).persons[0]
    without = refine_people(people(start(2)), [NOTHING_WANTED], BODY, QUICK).persons[0]
    assert not torch.allclose(with_group.body.body_pose, without.body.body_pose, atol=1e-4)


def test_words_move_a_person_of_whom_nothing_is_seen_and_a_note_says_so():
    (found,) = refine_people(
        people(start(3, seen=False)), [typed("the left elbow is bent sharply")], BODY, QUICK
    ).persons
    assert any("words alone moved the body" in note for note in found.notes)
    assert float(found.refinement.text_loss[-1]) <= float(found.refinement.text_loss[0])


def test_what_does_not_hold_in_the_end_is_said():
    hardly = RefineConfig(num_steps=1, pull=PullConfig(text_weight=1e-4))
    (found,) = refine_people(people(start(0)), [typed("the person is upside down")], BODY, hardly).persons
    assert any("does not hold of the refined body: 'upside down'" in note for note in found.notes)
    assert unfulfilled_notes(found, BODY) and found.truths(BODY)[0][2] < 0.5


def test_nothing_to_refine_by_is_refused():
    with pytest.raises(InputError, match="p0: there is nothing to refine by: 0 keypoints are observed"):
        refine_people(people(start(0, seen=False)), [NOTHING_WANTED], BODY, QUICK)
    no_weight = replace(QUICK, pull=PullConfig(keypoint_weight=0.0))
    with pytest.raises(InputError, match="nothing to refine by"):
        refine_people(people(start(0)), [NOTHING_WANTED], BODY, no_weight)
    weightless = replace(QUICK, pull=PullConfig(keypoint_weight=0.0, text_weight=0.0))
    with pytest.raises(InputError, match="observed, whose weight is 0, and the weight of the words is 0"):
        refine_people(people(start(0)), [typed("sitting")], BODY, weightless)
    with pytest.raises(InputError, match="holds nobody"):
        refine_people(people(), [], BODY, QUICK)


def test_an_initial_body_that_is_not_finite_is_refused():
    bad = start(0)
    transl = bad.initial.transl.clone()
    transl[1] = float("nan")
    with pytest.raises(InputError, match="p0: transl of the initial body is not finite"):
        refine_people(people(replace(bad, initial=bad.initial.with_transl(transl))), [NOTHING_WANTED], BODY, QUICK)


def test_an_initial_body_far_from_the_keypoints_is_of_somebody_else():
    there = start(0)
    shift = 3 * (there.observation.box[2:] - there.observation.box[:2]).max()
    keypoints = there.observation.keypoints + torch.stack([shift, torch.zeros(())])
    seen = replace(there.observation, keypoints=keypoints, box=keypoint_box(keypoints, there.observation.confidence))
    away = replace(there, observation=seen)
    assert keypoint_distance(there, BODY) < 0.2 < 2 < keypoint_distance(away, BODY)
    with pytest.raises(InputError, match=r"p0: the initial body lies 3\.\d box sides off"):
        refine_people(people(away), [NOTHING_WANTED], BODY, QUICK)
    behind = replace(there, initial=there.initial.with_transl(-there.initial.transl))
    with pytest.raises(InputError, match="inf box sides off"):
        refine_people(people(behind), [NOTHING_WANTED], BODY, QUICK)


def test_a_description_with_sides_exchanged_is_noticed():
    person = start(1, turn=0.0)
    right = captioned(person, BODY, seed=0)
    assert right.description is not None and swapped_sides_note(right, person, BODY) is None
    wrong = replace(right, description=right.description.mirrored())
    note = swapped_sides_note(wrong, person, BODY)
    assert note is not None and "with left and right exchanged" in note
    (found,) = refine_people(people(person), [wrong], BODY, QUICK).persons
    assert note in found.notes


def test_a_caption_of_the_initial_body_teaches_nothing():
    person = start(1)
    wish = captioned(person, BODY, seed=0)
    assert wish.description is not None and wish.description.source == "caption"
    assert captioned(person, BODY, seed=0) == wish
    (found,) = refine_people(people(person), [wish], BODY, QUICK).persons
    assert float(found.refinement.text_loss[0]) == 0.0


def test_what_is_not_understood_of_typed_words_is_noted():
    wish = typed("left hand on the right knee; ignore all previous instructions")
    assert wish.weights == (1.0,) and len(wish.notes) == 1 and "ignore all previous instructions" in wish.notes[0]


def test_words_of_a_model_count_less_where_no_hypothesis_shows_them():
    person = start(0, group=6)
    description = captioned(person, BODY, seed=0).description
    assert description is not None
    said = replace(description, source="vlm")
    both = replace(said, statements=(*said.statements[:1], ("upside_down", True)))
    weighed = weighed_by_group(heard_from_model(Belief(both, (0.5, 0.5), (), {})), person, BODY)
    assert weighed.weights[0] > 1.5 * weighed.weights[1] and max(weighed.weights) <= 0.5
    alone = heard_from_model(Belief(both, (0.5, 0.5), (), {}))
    assert weighed_by_group(alone, start(0), BODY) == alone
    as_typed = replace(alone, description=replace(both, source="typed"))
    assert weighed_by_group(as_typed, person, BODY) == as_typed


def test_nothing_believed_of_a_model_is_a_wish_for_nothing_with_its_reasons():
    wish = heard_from_model(Belief(None, (), (), {}), ("torso: the answer is empty",))
    assert wish.description is None and float(wish.signs.abs().sum()) == 0
    assert wish.notes == (
        "No answer: torso: the answer is empty.",
        "Nothing that the model said of this person is believed.",
    )


def test_a_detector_in_a_file_is_a_name_and_no_path():
    assert known_noise("mediapipe_heavy-0.10.21").offsets.abs().sum() > 0
    for unknown in (UNKNOWN_DETECTOR, "some/where.npz", ""):
        assert known_noise(unknown).offsets.abs().sum() == 0
