"""Training of the regressor: terms against formulas written another way, and runs from the command line."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from hmralign.body.lbs import posed_joints
from hmralign.cli.main import main
from hmralign.geometry.cameras import CROP_MARGIN
from hmralign.models.full_image_checkpoint import load_regressor
from hmralign.models.full_image_regressor import FullImageConfig, FullImageRegressor, KeypointTrunkConfig, RegressedBody
from hmralign.models.paper.vit_trunk import VIT_H
from hmralign.storage.presets import preset_names, preset_path
from hmralign.structures import InputError
from hmralign.training import regressor
from hmralign.training.configuration import read_config
from hmralign.training.regressor import (
    KnownPersons,
    RegressorData,
    RegressorTrainingConfig,
    regressor_figures,
    regressor_persons,
    regressor_terms,
    synthetic_persons,
    train_regressor,
)
from support.pixel_persons import pictured
from support.synthetic_persons import BODY, persons

MODEL = FullImageConfig(keypoints=KeypointTrunkConfig(width=32, depth=1, encoder_depth=1))
CONFIG = RegressorTrainingConfig(
    model=MODEL,
    persons=64,
    batch_size=16,
    steps=6,
    learning_rate=3e-3,
    held_out=20,
    save_every=2,
    measured_noise="mediapipe_heavy",
)


def truth_as_answer(example):
    """The regressed body that is the truth, its camera included."""
    body, seen = example.annotation.body, example.observation
    pelvis = example.annotation.joints[:, 0]
    focal, principal = seen.K[:, 0, 0], seen.K[:, :2, 2]
    side = CROP_MARGIN * (seen.box[:, 2:] - seen.box[:, :2]).amax(-1)
    s = 2 * focal / (side * pelvis[:, 2])
    middle = (seen.box[:, :2] + seen.box[:, 2:]) / 2
    t = pelvis[:, :2] - 2 * (middle - principal) / (side * s)[:, None]
    return RegressedBody(body.rotmats, body.betas, torch.cat([s[:, None], t], -1))


def test_the_truth_costs_nothing():
    example = persons(6)
    terms = regressor_terms(BODY, truth_as_answer(example), example.annotation.body, example.observation)
    assert set(terms) == {"pose", "shape", "joints", "reprojection"}
    for name, term in terms.items():
        assert term.shape == (6,) and float(term.max()) < 1e-6, name


def test_each_term_is_the_mean_square_that_it_says():
    example = persons(3)
    right = truth_as_answer(example)
    shifted = replace(right, betas=right.betas + 0.5)
    terms = regressor_terms(BODY, shifted, example.annotation.body, example.observation)
    torch.testing.assert_close(terms["shape"], torch.full((3,), 0.25))
    assert float(terms["pose"].max()) < 1e-9
    camera = right.camera * torch.tensor([1.0, 1.0, 1.0])
    camera[:, 1] += 0.3  # metres to the right, at the distance of the pelvis
    moved = replace(right, camera=camera)
    terms = regressor_terms(BODY, moved, example.annotation.body, example.observation)
    assert float(terms["joints"].max()) < 1e-9, "joints are compared relative to the pelvis"
    for row in range(3):  # an oracle with a loop
        K, truth = example.observation.K[row], posed_joints(BODY, example.annotation.body)[row, :24]
        box = example.observation.box[row]
        half = 1.25 * float((box[2:] - box[:2]).max()) / 2
        errors = []
        for x, _, z in truth.tolist():
            u, w = (float(K[0, 0]) * x / z, float(K[0, 0]) * (x + 0.3) / z)
            errors.append(((w - u) / half) ** 2)
        assert float(terms["reprojection"][row]) == pytest.approx(sum(errors) / 24, rel=1e-3)


def test_a_body_behind_the_camera_has_a_finite_loss():
    example = persons(2)
    right = truth_as_answer(example)
    near = replace(right, camera=right.camera * torch.tensor([1e4, 1.0, 1.0]))
    terms = regressor_terms(BODY, near, example.annotation.body, example.observation)
    assert all(bool(torch.isfinite(term).all()) for term in terms.values())


def test_a_resumed_run_is_the_straight_run(tmp_path):
    known = synthetic_persons(CONFIG, "train", CONFIG.persons)
    straight = train_regressor(CONFIG, known, tmp_path / "a")
    whole = regressor.falling_loop
    with pytest.MonkeyPatch.context() as patch:  # a run that ends early, at the rates of the whole one
        patch.setattr(regressor, "falling_loop", lambda *given, **more: replace(whole(*given, **more), steps=4))
        train_regressor(CONFIG, known, tmp_path / "b")
    resumed = train_regressor(CONFIG, known, tmp_path / "b")
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    line = json.loads((tmp_path / "b" / "curve.jsonl").read_text().splitlines()[-1])
    assert {"loss", "pose", "shape", "joints", "reprojection", "cpu_seconds"} <= set(line)


def test_training_lowers_the_errors(tmp_path):
    known = synthetic_persons(CONFIG, "train", CONFIG.persons)
    torch.manual_seed(0)
    start = regressor_figures(FullImageRegressor(MODEL), known)
    config = replace(CONFIG, steps=150, ema_decay=0.9, weight_decay=0.0, clip_norm=10.0)
    end = regressor_figures(train_regressor(config, known, tmp_path), known)
    assert end["mpjpe_m"] < 0.85 * start["mpjpe_m"], (start, end)
    assert end["reprojection_half_crops"] < start["reprojection_half_crops"]


def test_weights_of_zero_leave_a_term_out():
    with pytest.raises(InputError, match="weights"):
        replace(CONFIG, pose_weight=0.0, shape_weight=0.0, joint_weight=0.0, reprojection_weight=0.0)
    assert replace(CONFIG, shape_weight=0.0, joint_weight=0.0, reprojection_weight=0.0).pose_weight == 1.0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "at least 1"),
        ({"persons": 2}, "at least 10"),
        ({"data": RegressorData("synthwild-images", "x", "lab/train")}, "does not look at"),
        ({"pose_weight": -1.0}, "below 0"),
    ],
)
def test_values_without_meaning_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        replace(CONFIG, **wrong)


def test_guessed_cameras_are_refused():
    with pytest.raises(InputError, match="known_camera_share"):
        replace(CONFIG, synthetic=replace(CONFIG.synthetic, known_camera_share=0.5))


def test_the_command_trains_and_its_weights_recover(tmp_path, capsys):
    settings = {
        "model": {"keypoints": {"width": 32, "depth": 1, "encoder_depth": 1}}, "persons": 64, "batch_size": 16,
        "steps": 3, "held_out": 20,
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "run"
    assert main(["train", "regressor", "--config", str(tmp_path / "c.yaml"), "--out", str(out)]) == 0
    assert "regressor.safetensors" in capsys.readouterr().out
    model = load_regressor(out / "regressor.safetensors", BODY.skeleton_hash)
    assert model.config.keypoints.width == 32
    figures = json.loads((out / "held_out.json").read_text())
    assert figures["persons"] == 20 and 0 < figures["mpjpe_m"] < 1
    assert read_config(RegressorTrainingConfig, out / "config.yaml").steps == 3


def test_presets_are_read_and_the_large_one_needs_pictures(tmp_path, capsys):
    assert preset_names("regressor") == ("small", "vit-h")
    large = read_config(RegressorTrainingConfig, preset_path("regressor", "vit-h"))
    assert large.model.trunk == "pixels" and large.model.pixels == VIT_H and large.learning_rate == 1e-5
    assert main(["train", "regressor", "--preset", "vit-h", "--out", str(tmp_path / "o")]) == 2
    assert "looks at pictures; expected --data DIR" in capsys.readouterr().err
    with pytest.raises(InputError, match="looks at pictures"):
        regressor_persons(large)


def test_the_paper_preset_has_the_size_of_vit_h_with_hmr2s_decoder():
    large = read_config(RegressorTrainingConfig, preset_path("regressor", "vit-h"))
    with torch.device("meta"):
        model = FullImageRegressor(large.model)
    encoder = sum(p.numel() for p in model.trunk.vit.parameters())
    assert 620e6 < encoder < 640e6, "ViT-H/16 has about 632 million weights"
    assert 680e6 < sum(p.numel() for p in model.parameters()) < 720e6


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_paper_preset_takes_one_step_at_full_size():
    """About 7 GB, weights and gradients: plain descent, as AdamW's moments are as large again twice."""
    free = available_gigabytes()
    if free < 9:
        pytest.skip(f"{free:.0f} GB of memory are free, a step at full size takes 7")
    large = read_config(RegressorTrainingConfig, preset_path("regressor", "vit-h"))
    example = persons(2)[:1]
    example = replace(example, observation=pictured(example.observation, side=256))
    model = FullImageRegressor(large.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=large.learning_rate, foreach=False)
    known = KnownPersons.of(example, pixels=True)
    before = model.trunk.vit.blocks[31].mlp.fc2.weight[0].clone()
    terms = regressor_terms(BODY, model(known.observation), known.body, known.observation)
    sum(term.mean() for term in terms.values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing, missing
    optimizer.step()
    assert not torch.equal(before, model.trunk.vit.blocks[31].mlp.fc2.weight[0])
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def available_gigabytes():
    for line in open("/proc/meminfo"):
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 2**20
    return 0.0
