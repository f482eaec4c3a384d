"""Scorers: what they see, the mirror, their groups, their files."""

import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hmralign.body.keypoint_bones import landmark_points
from hmralign.body.lbs import forward_kinematics, posed_joints, posed_keypoints, rest_joints
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.models.person_frame import person_frame
from hmralign.models.scorer import METRICS, Scorer, ScorerConfig
from hmralign.models.scorer_calibration import Calibration
from hmralign.models.scorer_checkpoint import CalibratedScorer, load_scorer, save_scorer
from hmralign.models.scorer_features import DEPTH_UNIT, mirrored_input, scorer_input
from hmralign.structures import BodyParams, InputError
from support.synthetic_persons import BODY, exact, mirrored, mirrored_body, persons, seeded

PERSONS = persons(5)
HYPS = 4
VARIANTS = [(i, a) for i in ("uvd", "2d", "pose", "full", "group") for a in ("mlp", "attention")]


def config(inputs="full", architecture="mlp", **changes) -> ScorerConfig:
    size = {"width": 32, "depth": 1, "context_width": 16, "context_depth": 1}
    return ScorerConfig(inputs=inputs, architecture=architecture, **{**size, **changes})


def scorer(*args, members=1, seed=0, **changes) -> Scorer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Scorer(config(*args, **changes), members).eval().requires_grad_(False)


def disturbed(example=PERSONS, hyps=HYPS, seed=1, scale=0.2) -> BodyParams:
    truth = example.annotation.body
    n = len(truth.transl)
    noise = rotvec_to_rotmat(scale * torch.randn(n, hyps, 23, 3, generator=seeded(seed)))
    spread = [t[:, None].expand(-1, hyps, *t.shape[1:]) for t in (truth.global_orient, truth.betas, truth.transl)]
    return BodyParams(spread[0], truth.body_pose[:, None] @ noise, spread[1], spread[2])


def given(example=PERSONS, bodies=None):
    return scorer_input(BODY, disturbed(example) if bodies is None else bodies, example.observation)


def with_hyps(x, order):
    parts = {f.name: getattr(x, f.name)[:, order] for f in fields(x) if f.name not in ("observation", "patches")}
    return replace(x, **parts)


def test_true_bodies_fall_on_keypoints_that_were_observed_exactly():
    example = exact(PERSONS)
    truth = example.annotation.body[:, None]
    x = given(example, truth)
    assert x.landmarks[..., 2:4].abs().max() < 1e-3
    assert (given(example, disturbed(example)).landmarks[..., 2:4].abs().max() > 0.1).all()


def test_joints_are_where_the_person_frame_has_them():
    x, bodies, seen = given(), disturbed(), PERSONS.observation
    frame = person_frame(seen)
    joints = posed_joints(BODY, bodies) @ frame.R_person_cam[:, None].mT
    depth = (joints[..., 2] - joints[..., :1, 2]) / DEPTH_UNIT
    torch.testing.assert_close(x.uvd[..., 2], depth.clamp(-4, 4), atol=1e-5, rtol=1e-4)
    half = (seen.box[:, 2:] - seen.box[:, :2]).amax(-1) / 2
    pixels = project(posed_joints(BODY, bodies), seen.K[:, None])
    crop = (pixels - ((seen.box[:, :2] + seen.box[:, 2:]) / 2)[:, None, None]) / half[:, None, None, None]
    guessed = ~seen.knows_camera
    torch.testing.assert_close(x.uvd[guessed][..., :2], crop[guessed].clamp(-4, 4), atol=1e-4, rtol=1e-3)


def test_an_unseen_keypoint_has_no_distance():
    hidden = PERSONS.observation.confidence == 0
    assert hidden.any()
    residual = given().landmarks[..., 2:4]
    assert (residual.transpose(1, 2)[hidden] == 0).all()


def test_offsets_move_the_landmarks_alone():
    offsets = 0.05 * torch.randn(27, 3, generator=seeded(3))
    bodies = disturbed()
    plain, moved = given(), scorer_input(BODY, bodies, PERSONS.observation, offsets)
    torch.testing.assert_close(plain.uvd, moved.uvd)
    G, joints = forward_kinematics(rest_joints(BODY, bodies.betas), bodies.rotmats, BODY.parents)
    points = landmark_points(BODY, bodies.betas, G, joints + bodies.transl[..., None, :], offsets)
    away = (points - posed_keypoints(BODY, bodies)) @ person_frame(PERSONS.observation).R_person_cam[:, None].mT
    expected = (plain.landmarks[..., 4] + away[..., 2] / DEPTH_UNIT).clamp(-4, 4)
    torch.testing.assert_close(moved.landmarks[..., 4], expected, atol=1e-4, rtol=1e-3)


def test_the_mirrored_input_is_the_input_of_the_mirrored_photo():
    bodies = disturbed()
    other = scorer_input(BODY, mirrored_body(bodies), mirrored(PERSONS.observation))
    turned = mirrored_input(given(bodies=bodies))
    assert torch.equal(turned.observation.mask, other.observation.mask)
    torch.testing.assert_close(turned.observation.vector, other.observation.vector, atol=2e-3, rtol=0)
    for name in ("uvd", "rotations", "twists", "landmarks"):
        torch.testing.assert_close(getattr(turned, name), getattr(other, name), atol=5e-3, rtol=0)


def test_mirroring_twice_gives_the_input_back():
    x = given()
    twice = mirrored_input(mirrored_input(x))
    for name in ("uvd", "rotations", "twists", "landmarks"):
        torch.testing.assert_close(getattr(twice, name), getattr(x, name))
    torch.testing.assert_close(twice.observation.vector, x.observation.vector)


def test_blending_takes_whole_persons():
    x = given()
    take = torch.tensor([True, False, True, False, False])
    mixed = mirrored_input(x).where(take, x)
    assert torch.equal(mixed.uvd[~take], x.uvd[~take]) and torch.equal(mixed.uvd[take], mirrored_input(x).uvd[take])
    assert torch.equal(mixed.observation.mask[~take], x.observation.mask[~take])


@pytest.mark.parametrize(("inputs", "architecture"), VARIANTS)
def test_one_number_per_hypothesis_and_metric_whatever_the_order(inputs, architecture):
    x, s = given(), scorer(inputs, architecture)
    got = s(x)
    assert got.shape == (5, HYPS, len(METRICS)) and torch.isfinite(got).all()
    order = [2, 0, 3, 1]
    torch.testing.assert_close(s(with_hyps(x, order)), got[:, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(s(x[torch.tensor([3])]), got[3:4], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("inputs", "architecture"), VARIANTS)
def test_only_a_group_scorer_hears_the_other_hypotheses(inputs, architecture):
    x, s = given(), scorer(inputs, architecture)
    alone = s(with_hyps(x, [1]))
    assert torch.allclose(alone, s(x)[:, 1:2], atol=1e-5) == (inputs != "group")


@pytest.mark.parametrize("architecture", ["mlp", "attention"])
def test_the_published_inputs_cannot_see_a_twist_and_ours_can(architecture):
    x = given()
    turned = replace(x, rotations=x.rotations + 0.1, twists=x.twists + 0.1)
    for inputs, sees in (("uvd", False), ("2d", False), ("pose", True), ("full", True)):
        s = scorer(inputs, architecture)
        assert torch.allclose(s(turned), s(x)) == (not sees), inputs
    deeper = replace(x, uvd=x.uvd + torch.tensor([0.0, 0.0, 0.2]))
    assert torch.allclose(scorer("2d", architecture)(deeper), scorer("2d", architecture)(x))
    assert not torch.allclose(scorer("uvd", architecture)(deeper), scorer("uvd", architecture)(x))


def test_an_ensemble_is_the_mean_of_its_members():
    x, s = given(), scorer(members=3)
    torch.testing.assert_close(s(x), torch.stack([m(x) for m in s.members]).mean(0))
    with pytest.raises(InputError, match="at least 1 member"):
        Scorer(config(), 0)


def test_scores_have_gradients_to_the_bodies():
    bodies = disturbed()
    transl = bodies.transl.clone().requires_grad_(True)
    scorer()(scorer_input(BODY, replace(bodies, transl=transl), PERSONS.observation)).sum().backward()
    assert transl.grad is not None and transl.grad.abs().sum() > 0


def test_a_width_that_is_no_whole_number_of_heads_is_refused():
    with pytest.raises(InputError, match="multiple of 16"):
        ScorerConfig(architecture="attention", width=40)


CALIBRATION = Calibration((-1.0, 0.0, 2.0), (0.1, 0.3, 0.9))


def saved(path, **changes):
    found = CalibratedScorer(scorer(members=2), CALIBRATION, ("lab/train",))
    return save_scorer(path, replace(found, **changes), BODY.skeleton_hash, half=False)


def test_a_scorer_survives_its_file(tmp_path):
    path = saved(tmp_path / "s.safetensors")
    read = load_scorer(path, BODY.skeleton_hash)
    assert read.trained_on == ("lab/train",) and read.calibration == CALIBRATION and len(read.scorer.members) == 2
    assert torch.equal(read.scorer(given()), scorer(members=2)(given()))
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def rewritten(path, **header):
    with safe_open(path, framework="pt") as handle:
        meta, tensors = handle.metadata(), {k: handle.get_tensor(k) for k in handle.keys()}
    save_file(tensors, path, metadata={**meta, **header})
    return path


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"format_version": "9"}, "format 9"),
        ({"kind": "lite"}, "kind 'lite'"),
        ({"skeleton_hash": "ab"}, "another skeleton"),
        ({"config": "{"}, "configuration is not JSON"),
        ({"config": "[]"}, "no mapping"),
        ({"config": json.dumps({"width": 10**9})}, "width = 1000000000"),
        ({"config": json.dumps({"members": True})}, "members = True"),
        ({"config": json.dumps({"inputs": "smell"})}, "inputs = 'smell'"),
        ({"config": json.dumps({"nose": 1})}, "unknown fields"),
        ({"config": json.dumps({"width": 64})}, "do not fit"),
        ({"calibration": "{}"}, "calibration is no use"),
        ({"calibration": json.dumps({"outputs": [0, 1], "scores": [0.5, 0.4]})}, "calibration is no use"),
        ({"calibration": json.dumps({"outputs": [0, float("nan")], "scores": [0.5, 0.6]})}, "calibration is no use"),
        ({"trained_on": '"x"'}, "no list of names"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_by_name(tmp_path, header, says):
    path = rewritten(saved(tmp_path / "s.safetensors"), **header)
    with pytest.raises(InputError, match=says) as error:
        load_scorer(path, BODY.skeleton_hash)
    assert "s.safetensors" in str(error.value)


def test_a_cut_file_and_none_are_refused(tmp_path):
    path = saved(tmp_path / "s.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"s\.safetensors: not a whole"):
        load_scorer(path, BODY.skeleton_hash)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_scorer(tmp_path / "none.safetensors", BODY.skeleton_hash)


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    broken = scorer()
    next(broken.parameters()).fill_(torch.inf)
    with pytest.raises(InputError, match="not finite"):
        save_scorer(tmp_path / "s.safetensors", CalibratedScorer(broken, CALIBRATION), BODY.skeleton_hash)
    assert not list(tmp_path.iterdir())
