"""Words as a critic: what it prefers, whom it can judge, and files of descriptions."""

import json

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.critics.catalogue import make_critic, weights_of
from hmralign.critics.critic import judge
from hmralign.critics.language import LanguageCritic
from hmralign.critics.names import is_critic, score_name
from hmralign.language.caption import caption
from hmralign.language.planted import exchanged
from hmralign.language.reading import read_text
from hmralign.language.statements import STATEMENTS, row_of
from hmralign.structures import Hypotheses, InputError
from hmralign.training.hypothesis_sets import WIDE_NOISE, perturbed_truth
from support.synthetic_persons import persons, seeded

BODY = load_free_body("3k5")
PERSONS = persons(12)
TRUTH = PERSONS.annotation
BODIES = perturbed_truth(TRUTH, 6, WIDE_NOISE, seeded(0))


GROUP = Hypotheses(BODIES, posed_joints(BODY, BODIES))
TEXT = "the left hand is on the right knee, the right arm is not straight"


def test_true_captions_prefer_what_is_near_the_truth_and_those_of_others_do_not():
    error = (GROUP.joints - TRUTH.joints[:, None]).norm(dim=-1).mean(-1)
    said = caption(TRUTH.joints[:, :24], seeded(1), TRUTH.body.rotmats)

    def gain(descriptions):
        best = judge(LanguageCritic(tuple(descriptions)), GROUP, PERSONS).argmax(1)
        return (error.mean(1) - error.gather(1, best[:, None])[:, 0]).mean()

    assert gain(said) > 0.05 > 2 * gain(exchanged(said, seeded(2)))
    oracle = make_critic("oracle-language", BODY, persons=tuple(map(str, range(12))))
    best = judge(oracle, GROUP, PERSONS).argmax(1)
    assert (error.mean(1) - error.gather(1, best[:, None])[:, 0]).mean() > 0.01


def test_the_truth_satisfies_its_own_caption_and_a_person_does_not_depend_on_the_others():
    at_truth = Hypotheses(TRUTH.body[:, None], TRUTH.joints[:, None])
    names = tuple("abcdefghijkl")
    critic = make_critic("oracle-language", BODY, persons=names)
    assert (judge(critic, at_truth, PERSONS) == 0).all()
    whole = judge(make_critic("oracle-language", BODY, persons=names), GROUP, PERSONS)
    some = make_critic("oracle-language", BODY, persons=names[4:6])
    torch.testing.assert_close(judge(some, GROUP[4:6], PERSONS[4:6]), whole[4:6])


def test_persons_of_whom_nothing_is_said_have_equal_scores():
    critic = LanguageCritic((read_text(TEXT), None) * 6)
    assert critic.can_judge(PERSONS).tolist() == [True, False] * 6
    scores = judge(critic, GROUP, PERSONS)
    assert (scores[1::2] == 0).all() and (scores <= 0).all() and (scores >= -1).all() and scores[::2].std(1).min() > 0


def test_weights_say_what_is_believed():
    weights = torch.zeros(len(STATEMENTS))
    weights[row_of("left_hand_on_right_knee")] = 2.0
    only = judge(LanguageCritic((read_text("the left hand is on the right knee"),) * 12), GROUP, PERSONS)
    weighed = judge(LanguageCritic((read_text(TEXT),) * 12, weights), GROUP, PERSONS)
    torch.testing.assert_close(weighed, only)


def described(tmp_path, record):
    path = tmp_path / "mine.descriptions.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return str(path)


def test_a_file_of_descriptions_judges_persons_by_name(tmp_path):
    path = described(tmp_path, {"format_version": 1, "descriptions": {"b": TEXT, "x": "standing"}})
    assert is_critic(path) and score_name(path) == "mine" and str(weights_of(path)) == path
    critic = make_critic(path, BODY, persons=("a", "b"))
    assert critic.name == "mine" and not critic.needs_truth
    scores = judge(critic, GROUP[:2], PERSONS[:2])
    assert (scores[0] == 0).all() and scores[1].std() > 0
    torch.testing.assert_close(scores[1], judge(LanguageCritic((read_text(TEXT),)), GROUP[1:2], PERSONS[1:2])[0])


def test_without_names_nobody_is_judged(tmp_path):
    path = described(tmp_path, {"format_version": 1, "descriptions": {"b": TEXT}})
    with pytest.raises(InputError, match="0 descriptions for 12 persons"):
        judge(make_critic(path, BODY), GROUP, PERSONS)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "not a file of descriptions"),
        ({"format_version": 2, "descriptions": {}}, "format version 2"),
        ({"format_version": 1}, "expected an object of a text for each person"),
        ({"format_version": 1, "descriptions": {"a": 3}}, "expected an object of a text for each person"),
        (
            {"format_version": 1, "descriptions": {"anna": "standing, sitting"}},
            "anna: the description contradicts itself",
        ),
        ({"format_version": 1, "descriptions": {"anna": ""}}, "anna: the description is empty"),
    ],
)
def test_bad_files_are_refused(tmp_path, record, message):
    with pytest.raises(InputError, match=message):
        make_critic(described(tmp_path, record), BODY, persons=("a",))


def test_truth_and_generators_are_asked_for():
    critic = make_critic("oracle-language", BODY, persons=("a",))
    with pytest.raises(InputError, match="1 generator for 12 persons"):
        judge(critic, GROUP, PERSONS)
