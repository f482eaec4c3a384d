"""SynthWild with pictures: the persons of the split, with the same pictures however many are asked for."""

from dataclasses import replace

import pytest
import torch

from hmralign.cli.main import main
from hmralign.data.dataset import LabelledPersons, open_dataset
from hmralign.data.synthetic.synthwild import SPLITS, V2, Split
from hmralign.data.synthwild_folder import open_split
from hmralign.preferences.store import GroupStore
from hmralign.rendering.scenes import synthwild_images
from hmralign.rendering.scenes.synthwild_images import CROP_SIDE, SCENES, drawn_crops
from hmralign.structures import InputError
from hmralign.systems.synth.write_synthwild import write_benchmark
from support.pixel_persons import tiny_pixel_checkpoint

TINY = {
    "tiny/lab": Split("lab", "train", 70, 5, 0.5),
    "tiny/wild": Split("wild", "train", 66, 6, 0.5),
    "tiny-v2/wild": Split("wild", "heldout", 40, 7, 0.5, version=V2, postures="test"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthwild")
    with pytest.MonkeyPatch.context() as patch:
        for name, split in TINY.items():
            patch.setitem(SPLITS, name, split)
        write_benchmark(folder, tuple(TINY))
        yield folder


def test_it_is_a_data_set_of_the_splits_persons_with_pictures(folder):
    images, plain = open_dataset("synthwild-images", folder, "tiny/wild"), open_split(folder, "tiny/wild")
    assert isinstance(images, LabelledPersons) and len(images) == len(plain) == 66
    seen, known = images.examples.observation, plain.examples.observation
    assert seen.crop is not None and seen.crop.shape == (66, 3, CROP_SIDE, CROP_SIDE) and bool(seen.has_crop.all())
    assert torch.equal(seen.keypoints, known.keypoints) and torch.equal(seen.mask, known.mask)
    assert images.name == plain.name and images.sha256 == plain.sha256 and "images" in images.benchmark
    assert images.masks().keys() == plain.masks().keys()


def test_the_first_persons_have_the_pictures_that_they_have_among_all(folder):
    images = open_dataset("synthwild-images", folder, "tiny/lab")
    few = images.first(5)
    assert len(few) == 5 and torch.equal(few.examples.observation.crop, images.examples.observation.crop[:5])
    again = open_dataset("synthwild-images", folder, "tiny/lab").examples.observation.crop
    assert torch.equal(again, images.examples.observation.crop)


def test_persons_of_v2_have_pictures_and_their_version_is_said(folder):
    images = open_dataset("synthwild-images", folder, "tiny-v2/wild")
    assert images.first(3).examples.observation.crop.float().std() > 10
    assert images.benchmark.endswith("of synthwild-v2") and images.facts.source.endswith("persons of synthwild-v2")
    assert open_dataset("synthwild-images", folder, "tiny/wild").benchmark.endswith("of synthwild-v1")


def test_lab_and_wild_look_different():
    for name in ("blur", "jpeg", "grey"):
        assert getattr(SCENES["lab"].effects, name) < getattr(SCENES["wild"].effects, name)
    assert SCENES["lab"].looks.plain > SCENES["wild"].looks.plain and SCENES["lab"].beside == 0


def test_other_persons_under_the_same_name_are_found_out(folder):
    example = open_split(folder, "tiny/lab").first(3).examples
    moved = replace(example.observation, keypoints=example.observation.keypoints + 5)
    with pytest.raises(InputError, match="write them again"):
        list(drawn_crops("tiny/lab", replace(example, observation=moved)))


def test_real_poses_have_no_pictures(folder):
    with pytest.raises(InputError, match="user's file"):
        synthwild_images.open_split(folder, "mocap/test")


def test_evaluate_takes_a_pixel_policy_with_pictures_and_refuses_it_without(folder, tmp_path, capsys):
    checkpoint = str(tiny_pixel_checkpoint(tmp_path / "p.safetensors"))
    common = ["evaluate", checkpoint, "--data", str(folder), "--split", "tiny/wild", "--persons", "6", "--quiet"]
    assert main([*common, "--dataset", "synthwild-images", "--out", str(tmp_path / "with")]) == 0
    assert main([*common, "--out", str(tmp_path / "without")]) == 2
    assert "come without crops" in capsys.readouterr().err


def test_groups_keep_the_pictures_that_the_policy_saw(folder, tmp_path):
    checkpoint = str(tiny_pixel_checkpoint(tmp_path / "p.safetensors"))
    asked = ["--data", str(folder), "--dataset", "synthwild-images", "--split", "tiny/wild", "--persons", "8"]
    made = ["--group-size", "4", "--critic", "reprojection", "--out", str(tmp_path / "store"), "--quiet"]
    assert main(["groups", "--checkpoint", checkpoint, *asked, *made]) == 0
    observation = GroupStore.open(tmp_path / "store").read(0).example.observation
    expected = open_dataset("synthwild-images", folder, "tiny/wild").first(8).examples.observation.crop
    assert torch.equal(observation.crop, expected)
