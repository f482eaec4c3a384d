"""The composition: which noise is believed, who is ranked first, and one person's answer in company."""

import dataclasses

import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.critics.by_rule import Agreement, CriticWeights, agreement, judge_by_rule, quick_body
from hmralign.data.images import load_image
from hmralign.detection.detection import Detection
from hmralign.detection.find_people import people_from_array
from hmralign.detection.observe import camera_of, observe
from hmralign.fitting.detector_noise import noise_of
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import Hypotheses, Observation
from hmralign.systems.recover import people as people_module
from hmralign.systems.recover.people import RecoverConfig, recover_people
from support.recover_example import example_photo, tiny_model

CONFIG = RecoverConfig(sampler=SamplerConfig(num_hypotheses=4))


@pytest.fixture(scope="module")
def model():
    return tiny_model().eval()


def recover(model, detector="array", config=CONFIG):
    rgb, points = example_photo()
    photo = load_image(rgb)
    detection = dataclasses.replace(people_from_array(points)[0], detector=detector)
    return recover_people(LitePolicy(model, load_free_body("3k5")), photo, camera_of(photo), [detection], config)


def test_the_measured_noise_is_used_whatever_the_version_of_the_detector(model, monkeypatch):
    asked = []
    monkeypatch.setattr(people_module, "noise_of", lambda name: asked.append(name) or noise_of(name))
    for name in ("mediapipe", "mediapipe-0.10.21", "file", "array"):
        recover(model, name)
    assert asked == ["mediapipe", "mediapipe", "file", "array"]


def test_people_known_only_by_a_box_do_not_change_whose_noise_it_is(model, monkeypatch):
    asked = []
    monkeypatch.setattr(people_module, "noise_of", lambda name: asked.append(name) or noise_of(name))
    rgb, points = example_photo()
    photo = load_image(rgb)
    read = dataclasses.replace(people_from_array(points)[0], detector="mediapipe-0.10.21")
    boxed = Detection.of_box(np.array([20.0, 20, 60, 150]))
    people = recover_people(
        LitePolicy(model, load_free_body("3k5")), photo, camera_of(photo), [boxed, read], CONFIG
    ).persons
    assert asked == ["mediapipe"] and [p.box_only for p in people] == [True, False]
    alone = recover(model, "mediapipe").persons[0]
    torch.testing.assert_close(people[1].fused_joints, alone.fused_joints, atol=1e-4, rtol=0)


def test_only_plausibility_ranks_somebody_known_only_by_a_box(model):
    photo = load_image(example_photo()[0])
    boxed = [Detection.of_box(np.array([20.0, 20, 60, 150]))]
    (person,) = recover_people(LitePolicy(model, load_free_body("3k5")), photo, camera_of(photo), boxed, CONFIG).persons
    torch.testing.assert_close(person.scores, person.critic_scores["plausibility"])
    nothing = Agreement(None, None, None, None)
    assert person.best_agreement == person.fused_agreement == nothing


def test_the_ranking_follows_the_scores_and_the_scores_the_critics(model):
    person = recover(model).persons[0]
    ordered = person.scores[person.ranking]
    assert bool((ordered[:-1] >= ordered[1:]).all()) and person.selected == int(person.ranking[0])
    parts = person.critic_scores
    mixed = (parts["reprojection"] + 0.5 * parts["plausibility"]) / 1.5  # no mask: the silhouette has no say
    torch.testing.assert_close(person.scores, mixed)


def test_a_critic_of_weight_zero_is_not_asked(model):
    config = dataclasses.replace(CONFIG, critics=CriticWeights(silhouette=0.0, plausibility=0.0))
    assert list(recover(model, config=config).persons[0].critic_scores) == ["reprojection"]


def test_the_body_that_made_the_keypoints_wins_and_agrees_perfectly():
    from hmralign.body.lbs import posed_joints
    from hmralign.systems.recover.demo_scene import demo_scene

    body = load_free_body("3k5")
    scene = demo_scene(body)
    photo = load_image(scene.rgb)
    camera = camera_of(photo, scene.K)
    observation = Observation.stack([observe(people_from_array(scene.keypoints)[0], camera)])
    turned = dataclasses.replace(scene.truth, body_pose=scene.truth.body_pose.mT)
    bodies = type(turned).stack([turned, scene.truth])[None]
    group = Hypotheses(bodies, posed_joints(body, bodies))
    noise = noise_of("array")
    assert judge_by_rule(body, group, observation, camera, noise, CriticWeights()).ranking.tolist() == [[1, 0]]
    wrong, right = agreement(body, group, observation, camera, noise)[0]
    assert right.reprojection_px < 0.01 < 5 < wrong.reprojection_px and right.mask_iou is None


def test_silhouettes_use_the_small_mesh_of_the_same_skeleton():
    large = load_free_body("7k")
    assert quick_body(large).num_vertices < large.num_vertices
    other = dataclasses.replace(large, J_template=large.J_template + 0.01)
    assert quick_body(other) is other
