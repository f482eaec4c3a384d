"""`hmralign demo` without a detector, and its scene of known truth."""

import json

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, posed_keypoints
from hmralign.cli.main import main
from hmralign.geometry.cameras import project
from hmralign.structures import BodyParams, Hypotheses
from hmralign.systems.recover.demo_scene import HEIGHT, WIDTH, demo_scene, errors_against_truth


def test_the_demo_runs_without_a_detector_and_says_so(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HMRALIGN_DETECTOR_ENV", str(tmp_path / "none"))
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--checkpoint", str(checkpoint), "--num-hypotheses", "4"]
    arguments += ["--groups", "30", "--steps", "4", "--persons", "12"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"Open {tmp_path / 'demo' / 'report.html'}"
    assert "not installed" in err and "setup-detector" in err
    page = (tmp_path / "demo" / "report.html").read_text()
    assert 'href="astronaut/report.html"' in page and 'href="scene/report.html"' in page
    assert "NASA" in page and "not installed" in page and "nobody can pick" in page
    assert 'href="alignment/report.html"' in page and "without labels" in page
    loop = (tmp_path / "demo" / "alignment" / "report.html").read_text()
    assert "best-of-N" in loop and "DPO" in loop and loop.count("data:image/png") == 3
    found = json.loads((tmp_path / "demo" / "alignment" / "metrics.json").read_text())
    assert set(found["results"]) == {"base", "best-of-N", "DPO"} and found["groups"] == 30
    assert found["results"]["base"]["samples"]["minus base"]["fused"] == [0.0, 0.0, 0.0]
    truth = json.loads((tmp_path / "demo" / "scene" / "truth.json").read_text())
    assert truth["oracle_mpjpe_mm"] <= truth["best_mpjpe_mm"]


def test_the_scene_shows_its_truth():
    body = load_free_body("3k5")
    scene = demo_scene(body)
    assert scene.rgb.shape == (HEIGHT, WIDTH, 3)
    expected = project(posed_keypoints(body, scene.truth), torch.from_numpy(scene.K))
    torch.testing.assert_close(torch.from_numpy(scene.keypoints[0, :, :2]), expected)
    background = scene.rgb[5, 5].astype(int)
    x, y = scene.keypoints[0, 11:13, :2].mean(0).round().astype(int)  # between the hips there is a body
    assert abs(scene.rgb[y, x].astype(int) - background).max() > 30


def test_the_truth_itself_has_no_error_and_the_best_is_not_the_oracle():
    body = load_free_body("3k5")
    scene = demo_scene(body)
    joints = posed_joints(body, scene.truth)
    moved = joints + torch.tensor([0.0, 0.0, 0.5])
    bent = moved.clone()
    bent[20] += torch.tensor([0.024, 0.0, 0.0])
    group = Hypotheses(BodyParams.stack([scene.truth, scene.truth]), torch.stack([bent, moved]))
    errors = errors_against_truth(scene, body, group, 0, moved, torch.full((29,), 0.01))
    assert errors.fused_mpjpe_mm == pytest.approx(0, abs=1e-3) and errors.oracle_mpjpe_mm == pytest.approx(0, abs=1e-3)
    assert errors.best_mpjpe_mm == pytest.approx(1, abs=1e-2) and errors.mean_spread_mm == pytest.approx(10)


def test_the_demo_replaces_its_own_loop_and_nothing_else(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HMRALIGN_DETECTOR_ENV", str(tmp_path / "none"))
    folder = tmp_path / "demo" / "alignment"
    (folder / "groups").mkdir(parents=True)
    (folder / "groups" / "store.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--checkpoint", str(checkpoint)]
    assert main(arguments) == 2
    assert "no closed loop" in capsys.readouterr().err and (folder / "notes.txt").read_text() == "mine"
    assert main([*arguments, "--persons", "0"]) == 2 and "persons is 0" in capsys.readouterr().err
