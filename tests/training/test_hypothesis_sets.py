import pytest
import torch

from hmralign.body.lbs import posed_joints, vertices
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, pve
from hmralign.policies.lite import LitePolicy
from hmralign.structures import Example, InputError
from hmralign.training.hypothesis_sets import (
    PUBLISHED_NOISE,
    VERTEX_STRIDE,
    WIDE_NOISE,
    PerturbConfig,
    body_errors,
    hypothesis_set,
    perturbed_truth,
    perturbing,
    sampling,
)
from support.synthetic_persons import BODY, persons, seeded, tiny_model

PERSONS = persons(5)


def test_no_noise_is_the_truth_and_errs_nowhere():
    same = perturbed_truth(PERSONS.annotation, 3, PerturbConfig(pose=0.0, root=0.0, betas=0.0), seeded(0))
    assert body_errors(BODY, same, PERSONS.annotation).max() < 1e-5


def test_errors_are_those_of_the_metrics():
    bodies = perturbed_truth(PERSONS.annotation, 3, PUBLISHED_NOISE, seeded(0))
    got = body_errors(BODY, bodies, PERSONS.annotation)
    joints, truth = posed_joints(BODY, bodies)[..., :24, :], PERSONS.annotation.joints[:, None, :24]
    chosen = torch.arange(0, len(BODY.v_template), VERTEX_STRIDE)
    meshes = vertices(BODY, bodies), vertices(BODY, PERSONS.annotation.body)[:, None]
    expected = pve(meshes[0][..., chosen, :], meshes[1][..., chosen, :], joints[..., 0, :], truth[..., 0, :])
    torch.testing.assert_close(got[..., 0], mpjpe(joints, truth, root=0))
    torch.testing.assert_close(got[..., 1], pa_mpjpe(joints, truth.expand_as(joints)))
    torch.testing.assert_close(got[..., 2], expected, atol=1e-5, rtol=1e-4)
    whole = pve(*meshes, joints[..., 0, :], truth[..., 0, :])
    assert (got[..., 2] / whole - 1).abs().max() < 0.15  # every seventh vertex stands for all


def test_wide_noise_spans_more_than_the_published_one():
    small, wide = (
        body_errors(BODY, perturbed_truth(PERSONS.annotation, 16, c, seeded(0)), PERSONS.annotation)[..., 0]
        for c in (PUBLISHED_NOISE, WIDE_NOISE)
    )
    assert wide.max() > 3 * small.max() and wide.min() < small.min()


def test_a_proposal_is_of_a_seed_and_a_person():
    policy = LitePolicy(tiny_model(), BODY, num_steps=2)
    for make in (lambda s: sampling(policy, 4, s), lambda s: perturbing(4, WIDE_NOISE, s)):
        whole, again = make(0)(PERSONS, range(5)), make(0)(PERSONS, range(5))
        assert torch.equal(whole.body_pose, again.body_pose)
        assert not torch.equal(whole.body_pose, make(1)(PERSONS, range(5)).body_pose)
        part = make(0)(PERSONS[2:5], range(2, 5))  # in another chunk
        torch.testing.assert_close(part.body_pose, whole.body_pose[2:5], atol=1e-3, rtol=0)
        moved = make(0)(PERSONS[2:5], range(3, 6)).body_pose
        assert (moved - part.body_pose).abs().amax((1, 2, 3, 4)).min() > 1e-2, "by its number"


def test_a_set_does_not_depend_on_where_it_is_cut(monkeypatch):
    from hmralign.training import hypothesis_sets as module

    whole = hypothesis_set(BODY, PERSONS, perturbing(3, WIDE_NOISE, 0), None)
    monkeypatch.setattr(module, "CHUNK", 2)
    parts = hypothesis_set(BODY, PERSONS, perturbing(3, WIDE_NOISE, 0), None)
    torch.testing.assert_close(whole.errors, parts.errors)
    torch.testing.assert_close(whole.input.landmarks, parts.input.landmarks)


def test_persons_without_truth_are_refused():
    with pytest.raises(InputError, match="truth"):
        hypothesis_set(BODY, Example(PERSONS.observation), perturbing(3, WIDE_NOISE, 0), None)
