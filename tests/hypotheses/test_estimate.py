"""From observations to placed bodies: on the keypoints, in front of the camera, each person for themselves."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints, posed_keypoints, vertices
from hmralign.critics.weighing import Weighing
from hmralign.data.keypoint_box import keypoint_box
from hmralign.fitting.detector_noise import GENERIC_SIGMA, noise_of
from hmralign.fitting.evidence import KeypointNoise
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotmat_angle
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.models.checkpoint import checkpoint_path, load_checkpoint
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError
from support.synthetic_persons import BODY, exact, mirrored, mirrored_body, persons, seeded, tiny_model

MODEL = tiny_model()
NOISE = KeypointNoise(torch.full((27, 5), 0.005), torch.zeros(27, 3))
EXAMPLE = exact(persons(30, seed=3))
FAR = (EXAMPLE.annotation.joints[..., 2] > 1.5).all(1).nonzero()[:8, 0]
OBSERVED = EXAMPLE.observation[FAR]


def estimate(o=OBSERVED, m=4, refinement=RefinementConfig(), seed=0, model=MODEL):  # noqa: B008
    return estimate_bodies(LitePolicy(model, BODY), o, SamplerConfig(m, 2), refinement, NOISE, seeded(seed))


def knowing(known):
    return replace(OBSERVED, knows_camera=torch.full((len(OBSERVED.box),), known))


def share_of_box(body, o=OBSERVED):
    """Median distance of the projected keypoints from the observed ones, in shares of the box."""
    side = (o.box[:, 2:] - o.box[:, :2]).amax(1)
    points = posed_keypoints(BODY, body)
    pixels = project(points, o.K[:, None].expand(*points.shape[:-2], 3, 3))
    return (pixels - o.keypoints[:, None]).norm(dim=-1).median(-1).values / side[:, None]


def test_shapes_and_joints_belong_together():
    got = estimate()
    n = len(OBSERVED.box)
    assert got.hypotheses.body.batch_shape == (n, 4) and got.hypotheses.num_hypotheses == 4
    torch.testing.assert_close(got.hypotheses.joints, posed_joints(BODY, got.hypotheses.body))
    torch.testing.assert_close(got.fused_joints, posed_joints(BODY, got.fused))
    assert got.fused.batch_shape == (n,) and got.spread.shape == (n, 29)


@pytest.mark.parametrize("method", ["none", "ensemble", "gauss_newton"])
@pytest.mark.parametrize("known", [True, False])
def test_bodies_are_in_front_of_the_camera_even_when_the_model_knows_nothing(known, method):
    bodies = estimate(knowing(known), refinement=RefinementConfig(method=method)).hypotheses
    assert bodies.joints[..., 2].min() > 0 and torch.isfinite(bodies.joints).all()


@pytest.mark.skipif(not checkpoint_path("lite").is_file(), reason="the shipped weights are not here")
@pytest.mark.parametrize("known", [True, False])
def test_shipped_weights_lie_on_the_keypoints_and_nearer_to_the_truth_when_refined(known):
    model = load_checkpoint("lite", BODY.skeleton_hash)
    truth = EXAMPLE.annotation.joints[FAR] - EXAMPLE.annotation.joints[FAR][:, :1]
    errors, distances = {}, {}
    for method in ("none", "gauss_newton"):
        bodies = estimate(knowing(known), 8, RefinementConfig(method=method), model=model).hypotheses
        errors[method] = share_of_box(bodies.body).mean()
        relative = bodies.joints - bodies.joints[:, :, :1]
        distances[method] = (relative - truth[:, None]).norm(dim=-1).mean()
    # With guessed intrinsics a nominal camera stands in, and some of the error is its.
    assert errors["gauss_newton"] < 0.03 and errors["gauss_newton"] < (0.5 if known else 0.75) * errors["none"]
    assert distances["gauss_newton"] < (0.85 if known else 0.95) * distances["none"]


def test_a_person_does_not_depend_on_the_others():
    together = estimate()
    for k in (0, 3):
        alone = estimate(OBSERVED[k : k + 1])
        for a, b in (
            (alone.hypotheses.body.rotmats[0], together.hypotheses.body.rotmats[k]),
            (alone.fused.rotmats[0], together.fused.rotmats[k]),
        ):
            assert rotmat_angle(a, b).max() < 0.01
        torch.testing.assert_close(alone.fused_joints[0], together.fused_joints[k], atol=0.01, rtol=1e-3)
        torch.testing.assert_close(alone.spread[0], together.spread[k], atol=1e-3, rtol=0)


def test_the_generator_decides():
    a, b, c = (estimate(seed=s) for s in (0, 0, 1))
    assert torch.equal(a.hypotheses.joints, b.hypotheses.joints)
    assert not torch.equal(a.hypotheses.joints[:, 2:], c.hypotheses.joints[:, 2:])


def test_the_mirrored_photo_gets_the_mirrored_answer():
    a, b = estimate(), estimate(mirrored(OBSERVED))
    back = mirrored_body(b.fused)
    assert torch.quantile(rotmat_angle(back.rotmats, a.fused.rotmats), 0.99) < 0.03
    torch.testing.assert_close(back.transl, a.fused.transl, atol=0.02, rtol=0.01)


def test_a_single_hypothesis_knows_no_doubt():
    got = estimate(m=1)
    assert (got.spread == 0).all()
    assert rotmat_angle(got.fused.rotmats, got.hypotheses.body.rotmats[:, 0]).max() < 0.01
    assert estimate(m=6).spread[:, 1:].max() > 0


def test_persons_of_whom_nothing_was_seen_have_a_finite_answer():
    confidence = OBSERVED.confidence.clone()
    confidence[2] = 0
    o = replace(OBSERVED, confidence=confidence, box=keypoint_box(OBSERVED.keypoints, confidence))
    got = estimate(o)
    assert torch.isfinite(got.hypotheses.joints).all() and torch.isfinite(got.fused_joints).all()


@pytest.mark.parametrize("known", [True, False])
def test_persons_known_by_a_box_fill_it_and_the_others_stay(known):
    """Boxes anywhere in the photo, wide or narrow: every mesh touches two sides and crosses none."""
    o, size = knowing(known), torch.tensor([[60.0, 200], [300, 40], [120, 120]])
    corner = torch.tensor([[-20.0, 30], [500, 400], [250, 200]])
    confidence, box = o.confidence.clone(), o.box.clone()
    confidence[:3], box[:3] = 0, torch.cat([corner, corner + size], dim=-1)
    got = estimate(replace(o, confidence=confidence, box=box))
    for body in (got.hypotheses.body[:3], got.fused[:3, None]):
        pixels = project(vertices(BODY, body), o.K[:3, None])
        room = torch.stack([pixels.amin(-2) - corner[:, None], (corner + size)[:, None] - pixels.amax(-2)])
        share = room / size.amax(-1)[:, None, None]
        assert share.min() > -0.002, "inside"
        assert (share.amax(0).amin(-1) < 0.002).all(), "and as large as the box"
    torch.testing.assert_close(got.fused_joints[3:], estimate(o).fused_joints[3:], atol=0.01, rtol=1e-3)


class Judge:
    """Scores that are given."""

    name, needs_truth = "given", False

    def __init__(self, scores):
        self.scores = scores

    def __call__(self, hypotheses, example):
        assert example.annotation is None
        return self.scores.expand(hypotheses.joints.shape[:2])


def weighed(scores, temperature=0.03):
    weighing = Weighing(Judge(torch.tensor(scores)), temperature)
    return estimate_bodies(
        LitePolicy(MODEL, BODY),
        OBSERVED,
        SamplerConfig(4, 2),
        RefinementConfig(method="none"),
        NOISE,
        seeded(0),
        weighing,
    )


def test_the_answer_follows_the_weights():
    plain = estimate(refinement=RefinementConfig(method="none"))
    equal, third = weighed([0.5, 0.5, 0.5, 0.5]), weighed([0.1, 0.1, 0.9, 0.1], 1e-3)
    torch.testing.assert_close(equal.fused.rotmats, plain.fused.rotmats, atol=1e-5, rtol=0)
    torch.testing.assert_close(third.fused.rotmats, third.hypotheses.body.rotmats[:, 2], atol=1e-4, rtol=0)
    torch.testing.assert_close(third.hypotheses.joints, plain.hypotheses.joints)


def test_nobody_is_an_error():
    with pytest.raises(InputError, match="batch is empty"):
        estimate(OBSERVED[:0])


def test_a_person_without_a_batch_axis_is_an_error():
    with pytest.raises(InputError, match="one batch axis"):
        estimate(OBSERVED[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["keypoints", "confidence", "K", "box", "mask"])
def test_values_that_are_not_finite_are_named(name, value):
    spoilt = getattr(OBSERVED, name).clone()
    spoilt[5].view(-1)[1] = value
    with pytest.raises(InputError, match=f"person 5: {name}"):
        estimate(replace(OBSERVED, **{name: spoilt}))


def test_no_hypotheses_are_an_error():
    with pytest.raises(InputError, match="at least 1"):
        estimate(m=0)


def test_noise_of_detectors():
    measured, unknown = noise_of("mediapipe"), noise_of("somebody's file")
    assert measured.sigma.shape == unknown.sigma.shape == (27, len(GENERIC_SIGMA))
    assert measured.offsets.abs().max() > 0 and unknown.offsets.abs().max() == 0


class OneByOne:
    """A policy that can only propose with one generator."""

    def __init__(self, policy):
        self.policy, self.body = policy, policy.body

    def propose(self, observation, sampler, generator):
        return self.policy.propose(observation, sampler, generator)


def test_persons_with_draws_of_their_own_do_not_share_noise():
    """Two equal persons get other bodies but for the zero-noise modes; one alone gets what it gets in company."""
    twice = OBSERVED[torch.zeros(2, dtype=torch.long)]
    policy = LitePolicy(MODEL, BODY)

    def bodies(observation, numbers, of=policy):
        draws = [seeded(n) for n in numbers]
        return estimate_bodies(of, observation, SamplerConfig(6, 2), RefinementConfig("none"), NOISE, draws).hypotheses

    apart = bodies(twice, (1, 2))
    away = (apart.joints[0] - apart.joints[1]).flatten(1).abs().amax(-1)
    assert (away[:2] < 1e-5).all() and (away[2:] > 1e-3).all()
    alone = bodies(twice[1:], (2,))
    torch.testing.assert_close(alone.joints[0], apart.joints[1], atol=2e-5, rtol=0)
    torch.testing.assert_close(bodies(twice, (1, 2), OneByOne(policy)).joints, apart.joints, atol=2e-5, rtol=0)


def test_the_answer_trusts_the_keypoints_less_the_more_its_noise_is_raised():
    def answer(scale):
        return estimate(m=6, refinement=RefinementConfig(fused_noise_scale=scale))

    near, far = answer(1.0), answer(1e4)
    torch.testing.assert_close(near.hypotheses.joints, far.hypotheses.joints)  # the group knows nothing of it
    assert (share_of_box(near.fused[:, None]) < share_of_box(far.fused[:, None])).float().mean() > 0.7
