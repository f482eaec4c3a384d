"""The real thing: the shipped detector and the shipped weights on the bundled portrait."""

import json
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from hmralign.cli.main import main
from hmralign.detection.environment import detector_environment
from hmralign.models.checkpoint import checkpoint_path

pytestmark = [
    pytest.mark.detector,
    pytest.mark.skipif(detector_environment() is None, reason="run `hmralign setup-detector` first"),
    pytest.mark.skipif(not checkpoint_path("lite").is_file(), reason="the weights are not here"),
]

PORTRAIT = files("hmralign.data") / "assets" / "astronaut.jpg"


def test_the_portrait(tmp_path, capsys):
    assert main(["recover", str(PORTRAIT), "--out", str(tmp_path), "--num-hypotheses", "20", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (person,) = document["photos"][0]["people"]
    assert person["detector"].startswith("mediapipe") and person["selected"]["mask_iou"] > 0.4
    assert person["selected"]["reprojection_over_box_height"] < 0.06
    arrays = np.load(tmp_path / "astronaut" / "person_0" / "hypotheses.npz", allow_pickle=False)
    spread = dict(zip(arrays["joint_names"], arrays["spread"], strict=True))
    assert spread["left_ankle"] + spread["right_ankle"] > spread["left_shoulder"] + spread["right_shoulder"]


def test_a_photo_without_people(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(100, 140, (240, 320, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "wall.png")
    assert main(["recover", str(tmp_path / "wall.png"), "--out", str(tmp_path / "out")]) == 2
    assert "nobody was found" in capsys.readouterr().err


def test_a_box_names_the_person_read_or_not(tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"boxes": {"astronaut.jpg": [[0, 20, 380, 511], [400, 100, 460, 260]]}}')
    arguments = ["recover", str(PORTRAIT), "--out", str(tmp_path / "out"), "--boxes", str(boxes)]
    assert main([*arguments, "--num-hypotheses", "4", "--quiet"]) == 0
    record = json.loads((tmp_path / "out" / "astronaut" / "photo.json").read_text())
    assert [person["box_only"] for person in record["people"]] == [False, True]
    assert record["people"][1]["box"] == [400.0, 100.0, 460.0, 260.0]
