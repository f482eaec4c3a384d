"""Poses become pictures whose persons stand where the archive beside them says; equal settings, equal files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.cli.main import main
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.systems.multiview_data.images import ImagesConfig, RenderedImages, build_images


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    path = tmp_path_factory.mktemp("poses") / "poses.npz"
    draw = np.random.default_rng(0)
    vectors = 0.3 * draw.normal(size=(6, 24, 3)).astype(np.float32)
    np.savez(path, poses=vectors, split=np.array([0, 0, 0, 0, 0, 2], np.int8))
    return path


def test_pictures_agree_with_their_persons_and_are_drawn_again_to_the_bit(poses, tmp_path, capsys):
    words = ["multiview", "images", str(poses), "--images", "3", "--side", "64", "--seed", "5"]
    assert main([*words, "--out", str(tmp_path / "a"), "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["poses"]["used"] == 3 and len(manifest["files"]) == 4 and "free" in manifest["made_by"]
    assert main([*words, "--out", str(tmp_path / "b"), "--quiet"]) == 0
    assert json.loads((tmp_path / "b/manifest.json").read_text()) == manifest
    with np.load(tmp_path / "a/persons.npz") as found:
        assert found["pose_row"].tolist() == [0, 2, 4] and found["joints"].shape == (3, 24, 3)
        joints, K, box = (torch.from_numpy(found[name]) for name in ("joints", "K", "box"))
    pixels = apply_affine(crop_affine(box, 64)[0], project(joints, K))
    assert float(((pixels > 0) & (pixels < 64)).float().mean()) > 0.5
    picture = np.asarray(Image.open(tmp_path / "a/images/000001.png"))
    assert picture.shape == (64, 64, 3) and picture.std() > 5


def test_another_generator_takes_the_place_of_the_renderer(poses, tmp_path):
    class Grey(RenderedImages):
        @property
        def name(self):
            return "grey"

        def pictures(self, body_pose, up_in_pelvis, generator):
            example, made = super().pictures(body_pose, up_in_pelvis, generator)
            return example, torch.full_like(made, 128)

    manifest = build_images(ImagesConfig(images=1), poses, Grey(side=32), tmp_path / "out")
    assert manifest["made_by"] == "grey"
    assert np.asarray(Image.open(tmp_path / "out/images/000000.png")).mean() == 128


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "6"], "6 pictures of 5 poses"),
        (["--images", "0"], "0 pictures"),
        (["--side", "8"], "pictures of 8 pixels"),
        (["--split", "val"], "val"),
    ],
)
def test_wrong_words_are_one_sentence(words, said, poses, tmp_path, capsys):
    assert main(["multiview", "images", str(poses), *words, "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "x").exists()
