"""Sets of calibrated photos are read and triangulated, and the measures say what they are called."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.geometry.rotations import axis_rotmat
from hmralign.structures import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "photos"))

from real_photo_report import markdown, over_instants
from real_photo_sets import JOINTS, read_set
from real_photos import MIRROR, calibration, errors, pick, quantiles

PERSON = torch.tensor([
    [0.2, -0.5, 0.0], [-0.2, -0.5, 0.05], [0.3, -0.2, 0.1], [-0.3, -0.2, 0.0], [0.3, 0.0, -0.1], [-0.3, 0.1, 0.1],
    [0.1, 0.0, 0.0], [-0.1, 0.0, 0.0], [0.1, 0.45, -0.1], [-0.1, 0.45, 0.0], [0.1, 0.9, 0.1], [-0.1, 0.9, 0.0],
]).double() + torch.tensor([0.1, 0.2, 4.0])  # fmt: skip


def write_set(folder, truth=True, keypoints=True):
    """Three cameras, one instant; returns the joints in the world."""
    K, cameras, shots, read = [[600.0, 0, 300], [0, 600.0, 400], [0, 0, 1]], {}, {}, {}
    world = PERSON - torch.tensor([0.1, 0.2, 4.0])
    for number in range(3):
        T = torch.eye(4).double()
        T[:3, :3], T[2, 3] = axis_rotmat("y", torch.tensor(0.9 * number)), 4.0
        name = f"c{number}"
        cameras[name] = {"K": K, "T_cam_world": T.tolist(), "distortion": [0.05, -0.01, 0.001, 0.0]}
        shots[name] = f"{name}.jpg"
        (folder / shots[name]).touch()
    record = {"format_version": 1, "up": [0, -2, 0], "cameras": cameras, "instants": {"a": shots}}
    (folder / "cameras.json").write_text(json.dumps(record))
    if truth:
        (folder / "truth.json").write_text(json.dumps({"a": dict(zip(JOINTS, world.tolist(), strict=True))}))
    photos = read_set(folder)
    for name in cameras:
        points = np.zeros((17, 3))
        points[5:, :2], points[5:, 2] = photos.pixels(world, name).numpy(), 0.9
        read[name] = points.tolist()
    if keypoints:
        (folder / "keypoints.json").write_text(json.dumps({"a": read}))
    return world


def test_a_set_is_read_and_its_keypoints_give_the_joints_through_the_lens(tmp_path):
    world = write_set(tmp_path)
    photos = read_set(tmp_path)
    torch.testing.assert_close(photos.truth["a"], world)
    made = photos.triangulated(photos.keypoints["a"], 800.0)
    assert made.found.all()
    torch.testing.assert_close(made.points, world, atol=1e-4, rtol=0)
    assert float(made.residuals.max()) < 0.1
    assert photos.elevation(world, "c0") == pytest.approx(math.degrees(math.asin(0.17 / 4.0)), abs=1.5)


def test_what_is_wrong_with_a_set_is_named(tmp_path):
    write_set(tmp_path)
    (tmp_path / "c1.jpg").unlink()
    with pytest.raises(InputError, match=r"no photo c1\.jpg"):
        read_set(tmp_path)
    (tmp_path / "c1.jpg").touch()
    (tmp_path / "truth.json").write_text(json.dumps({"a": {"left_knee": [0, 0, 0]}}))
    with pytest.raises(InputError, match="left_shoulder"):
        read_set(tmp_path)
    (tmp_path / "cameras.json").write_text("{}")
    with pytest.raises(InputError, match="format_version"):
        read_set(tmp_path)


def test_the_truth_has_no_error_wherever_it_stands():
    found = errors(PERSON + torch.tensor([1.0, -2.0, 0.5]), PERSON)
    assert not found["faces_away"]
    for name in ("mpjpe", "pa_mpjpe", "plane", "depth", "lean"):
        assert found[name] == pytest.approx(0, abs=1e-3)


def test_mean_over_joints_is_that_of_the_joints_and_splits_into_plane_and_depth():
    moved = PERSON.clone()
    moved[4, 0] += 0.12  # sideways, and the sight is nearly straight ahead
    found = errors(moved, PERSON)
    assert found["mpjpe"] == pytest.approx(np.mean(found["joints"]), abs=0.1) == pytest.approx(10.0, abs=0.1)
    assert found["plane"] == pytest.approx(10.0, abs=0.2) and found["depth"] < 1.0


def test_a_body_turned_round_faces_away_and_one_bent_back_leans():
    centre = PERSON[[6, 7]].mean(0)
    for angle, away in ((math.pi, True), (0.3, False), (-0.3, False)):
        turned = (PERSON - centre) @ axis_rotmat("y", torch.tensor(angle).double()).mT + centre
        assert errors(turned, PERSON)["faces_away"] is away
    back = PERSON.clone()
    R = axis_rotmat("x", torch.tensor(math.radians(10)).double())
    for sign in (1, -1):
        turned = (PERSON - centre) @ (R if sign < 0 else R.mT).mT + centre
        head = turned[[0, 1]].mean(0) - back[[0, 1]].mean(0)
        assert errors(turned, PERSON)["lean"] == pytest.approx(sign * 10.0, abs=0.01)
        assert (float(head[2]) > 0) is (sign > 0), "away from the camera is positive"


def test_the_person_is_picked_by_place_whatever_his_sides():
    class Read:
        def __init__(self, points):
            self.keypoints = np.zeros((27, 2), np.float32)
            self.keypoints[5:17] = points

    truth = (PERSON[:, :2] * 300 + 400).numpy()
    him, turned, other = Read(truth + 2), Read(truth[MIRROR] + 1), Read(truth + 500)
    assert pick([other, him], truth) == (him, False)
    assert pick([other, turned], truth) == (turned, True)
    assert pick([other], truth) == (None, False)


def test_regions_hold_what_a_gaussian_says():
    draw = torch.Generator().manual_seed(0)
    inside = {"50%": [], "90%": []}
    for _ in range(60):
        group = PERSON + 0.05 * torch.randn(400, 12, 3, generator=draw).double()
        truth = PERSON + 0.05 * torch.randn(12, 3, generator=draw).double()
        stated = calibration(group, PERSON, truth, None)["as predicted"]
        for share in inside:
            inside[share] += stated[share]
    assert np.mean(inside["50%"]) == pytest.approx(0.5, abs=0.06)
    assert np.mean(inside["90%"]) == pytest.approx(0.9, abs=0.04)


def test_instants_count_alike_however_many_photos_they_have():
    rows = [{"instant": "a", "v": 1.0}] * 5 + [{"instant": "b", "v": 3.0}]
    found = over_instants(rows, lambda row: row["v"])
    assert found.mean == 2.0 and (found.low, found.high) == (1.0, 3.0)
    assert quantiles(torch.tensor([1.0, 2.0, 3.0])) == [2.0, 2.8, 3.0]


def test_the_committed_report_is_the_one_of_the_committed_figures():
    results = Path(__file__).parents[2] / "docs" / "results"
    text = markdown(json.loads((results / "real_photos.json").read_text()))
    assert text == (results / "real_photos.md").read_text()
