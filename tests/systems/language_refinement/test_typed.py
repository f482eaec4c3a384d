"""What somebody types becomes true where keypoints allow it, or the body stays and that is said."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from hmralign.body.lbs import posed_keypoints
from hmralign.geometry.cameras import project
from hmralign.language.agreement import measure
from hmralign.language.description import PoseDescription
from hmralign.language.statements import STATEMENTS
from hmralign.refinement.pull import PullConfig
from hmralign.refinement.refine import RefineConfig
from hmralign.structures import Camera, InputError
from hmralign.systems.language_refinement.refined import RefinedPerson, contradicted, moved_limbs, refine_people
from hmralign.systems.language_refinement.starts import InitialPeople, InitialPerson, known_noise
from hmralign.systems.language_refinement.wishes import (
    NOTHING_WANTED,
    TYPED,
    Wish,
    captioned,
    config_of,
    joints_and_rotmats,
    typed,
    without,
)
from support.synthetic_persons import BODY, exact, persons

ENDS = {"left_arm": "left hand", "right_arm": "right hand", "left_leg": "left foot", "right_leg": "right foot"}
WORDS_WIN = replace(TYPED, pull=replace(TYPED.pull, keypoint_weight=0.0))
IN_DEPTH = [f"{s}_{f}" for s in ("left", "right") for f in ("forearm_towards_camera", "hand_nearer_than_other")]


def start(row: int) -> InitialPerson:
    """A person whose initial body is the truth, with exact keypoints."""
    example = exact(persons(6))[row]
    observation, camera = example.observation, Camera(example.observation.K, 1000, 1000, "given")
    return InitialPerson("p", example.annotation.body, observation, camera, known_noise("mediapipe"), "mediapipe", None)


def said(statement: str) -> Wish:
    return Wish(PoseDescription((), ((statement, True),), source="typed"), (1.0,))


def false_of(person: InitialPerson) -> list[str]:
    """Statements about one limb, with nothing to touch, that do not hold of the initial body."""
    truth = measure(*joints_and_rotmats(person.initial, BODY))[0]
    alone = [
        s.part in ENDS and all(c.quantity.kind not in ("distance", "lift") for c in s.conditions) for s in STATEMENTS
    ]
    return [s.id for s, limb, t in zip(STATEMENTS, alone, truth.tolist(), strict=True) if s.said and limb and t < 0.5]


def carried_out(pairs: list[tuple[InitialPerson, str]], config: RefineConfig) -> tuple[RefinedPerson, ...]:
    """Each person with one statement, all at once."""
    people = InitialPeople(tuple(replace(person, name=f"p{row}") for row, (person, _) in enumerate(pairs)), "a test")
    return refine_people(people, [said(s) for _, s in pairs], BODY, config).persons


@cache
def words_won(row: int) -> tuple[RefinedPerson, ...]:
    """Every fourth statement, to be quick."""
    return carried_out([(start(row), s) for s in false_of(start(row))[::2]], WORDS_WIN)


def part_of(person: RefinedPerson) -> str:
    name = person.truths(BODY)[0][0]
    return next(s.part for s in STATEMENTS if s.id == name)


@pytest.mark.parametrize("row", [0, 2])
def test_where_words_win_what_was_false_of_a_limb_becomes_true(row):
    truths = [person.truths(BODY)[0] for person in words_won(row)]
    assert len(truths) > 12 and all(before < 0.5 for _, before, _, _ in truths)
    missed = [name for name, _, after, _ in truths if after < 0.5]
    assert len(missed) <= 0.05 * len(truths), missed


@pytest.mark.parametrize("row", [0, 2])
def test_where_words_win_the_named_limb_moves_most_and_the_rest_little(row):
    for person in words_won(row):
        moved = moved_limbs(person, BODY)
        named = moved.pop(ENDS[part_of(person)])
        assert named > max(moved.values()), (person.truths(BODY), named, moved)


@pytest.mark.parametrize("row", [0, 2])
def test_the_loss_of_the_words_does_not_rise_from_the_first_body_to_the_last(row):
    losses = torch.stack([person.refinement.text_loss for person in words_won(row)])  # (person, step)
    assert bool((losses[:, -1] <= losses[:, 0]).all())


def test_by_default_a_typed_sentence_on_depth_becomes_true_and_the_keypoints_stay():
    false = [(row, s) for row in range(6) for s in IN_DEPTH if s in false_of(start(row))]
    assert len(false) >= 8
    won = 0
    for found in carried_out([(start(row), statement) for row, statement in false], TYPED):
        (_, _, after, _), o = found.truths(BODY)[0], found.start.observation
        away = (project(posed_keypoints(BODY, found.body), o.K) - o.keypoints).norm(dim=-1)
        assert float(away.median() / (o.box[2:] - o.box[:2]).max()) < 0.02, "the photo still fits"
        won += after > 0.5
    assert won >= 0.6 * len(false), (won, len(false))


def test_what_keypoints_contradict_moves_nothing_and_is_said():
    person = next(start(row) for row in range(6) if "left_arm_up" in false_of(start(row)))
    (found,) = carried_out([(person, "left_arm_up")], TYPED)
    assert any("'left arm up'. The keypoints speak against it, so it moved nothing" in note for note in found.notes)
    assert moved_limbs(found, BODY)["left hand"] < 0.05 and found.wish.weights == (0.0,)
    losses = found.refinement.text_loss
    assert float(losses[0]) > 1 and abs(float(losses[-1] - losses[0])) < 1.0, "also what was left out has a loss"


def test_nothing_is_contradicted_where_keypoints_have_no_say():
    hardly = replace(WORDS_WIN, pull=replace(WORDS_WIN.pull, text_weight=1e-4))
    (person,) = carried_out([(start(0), "upside_down")], hardly)
    assert person.truths(BODY)[0][2] < 0.5 and contradicted(person, BODY, WORDS_WIN) == ()
    assert contradicted(person, BODY, TYPED) == ("upside_down",)
    assert contradicted(replace(person, wish=NOTHING_WANTED), BODY, TYPED) == ()


def test_one_contradicted_statement_does_not_take_the_others_along():
    wish = without(typed("left hand above the head; the left elbow is straight"), ("left_hand_above_head",))
    assert wish.weights == tuple(float(s != "left_hand_above_head") for s, _ in wish.description.statements)
    assert without(NOTHING_WANTED, ("left_hand_above_head",)) == NOTHING_WANTED


def test_what_holds_already_moves_hardly_anything():
    person = start(0)
    description = captioned(person, BODY, seed=0).description
    wish = Wish(replace(description, source="typed"), (1.0,) * len(description.statements))
    (found,) = refine_people(InitialPeople((person,), "a test"), [wish], BODY).persons
    assert max(moved_limbs(found, BODY).values()) < 0.06


def test_only_typed_words_are_carried_out_as_typed_words_are():
    person = start(0)
    assert config_of([typed("sitting")]) is TYPED and typed("sitting").margin > 0
    assert config_of([captioned(person, BODY, 0), NOTHING_WANTED]) == RefineConfig()
    assert captioned(person, BODY, 0).margin == NOTHING_WANTED.margin == 0


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_without_meaning_is_refused(share):
    with pytest.raises(InputError, match="others_share"):
        PullConfig(others_share=share)
