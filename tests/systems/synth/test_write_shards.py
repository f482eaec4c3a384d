"""`hmralign synth`: a killed run is continued to the same bytes, and folders are never mixed."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.cli.main import main
from hmralign.data.shards import open_shards
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.rendering.scenes.crops import SceneMix
from hmralign.structures import MASK_SIZE, InputError
from hmralign.systems.synth.write_shards import SynthConfig, write_synthetic_shards
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.configuration import write_training_config
from support import forked

TRAINING = BaseTrainingConfig(measured_noise=None)
SYNTH = SynthConfig(examples=60, shard_size=20, seed=7)


def command(folder, *more):
    """The command line that writes `SYNTH` with `TRAINING`; its configuration lies beside the folder."""
    config = folder.parent / "config.yaml"
    write_training_config(config, TRAINING)
    return ["synth", "--out", str(folder), "--config", str(config), "--examples", "60", "--shard-size", "20",
            "--seed", "7", "--quiet", *more]  # fmt: skip


def content(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight") / "shards"
    assert main(command(folder)) == 0
    return folder


def test_what_is_written(straight):
    assert list(content(straight)) == ["index.json", "plan.json", *(f"shard_0000{k}.safetensors" for k in range(3))]
    assert len(set(content(straight).values())) == 5, "every shard holds other persons"
    shards = open_shards(straight)
    assert len(shards) == 60 and bool(shards.tensors["has_mask"].all())
    mask = shards[torch.arange(60)].observation.mask
    assert mask.amax(dim=(1, 2)).gt(0.9).float().mean() > 0.9, "almost everybody is seen"
    assert 0.02 < mask.mean() < 0.6
    index = json.loads((straight / "index.json").read_text())
    assert index["synth"]["seed"] == 7 and len(index["skeleton_hash"]) == 64 and index["pose_file_sha256"] is None


def test_masks_lie_where_the_keypoints_are(straight):
    example = open_shards(straight)[torch.arange(60)]
    affine, _ = crop_affine(example.observation.box, MASK_SIZE)
    pelvis = project(example.annotation.joints[:, :1], example.observation.K)
    cell = apply_affine(affine, pelvis)[:, 0].round().long()
    inside = ((cell >= 0) & (cell < MASK_SIZE)).all(-1) & (example.observation.confidence[:, [11, 12]] > 0.3).all(-1)
    assert inside.sum() > 20
    cell = cell[inside]
    covered = example.observation.mask[inside][torch.arange(len(cell)), cell[:, 1], cell[:, 0]]
    assert (covered > 0.5).float().mean() > 0.9


def killed_command(folder):
    write, calls = Path.write_bytes, []

    def killing(path, content):
        calls.extend([path] * (folder in path.parents))  # kernels may be written elsewhere
        if len(calls) == 3:  # half a shard is on disk, after the plan and a whole one
            write(path, content[:1000])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, content)

    Path.write_bytes = killing
    return main(command(folder))


def test_a_run_killed_while_writing_is_continued_to_the_same_bytes(straight, tmp_path):
    folder = tmp_path / "shards"
    assert forked.run(lambda: killed_command(folder)) == -signal.SIGKILL
    *whole, part = sorted(content(folder), key=lambda name: name.endswith(".part"))
    assert whole == ["plan.json", "shard_00000.safetensors"] and part.startswith(".shard_00001.safetensors.")
    with pytest.raises(InputError, match="not a finished"):
        open_shards(folder)
    kept = (folder / "shard_00000.safetensors").stat().st_mtime_ns
    assert main(command(folder)) == 0
    assert content(folder) == content(straight)
    assert (folder / "shard_00000.safetensors").stat().st_mtime_ns == kept, "the finished shard was kept"


def test_a_shard_depends_on_its_number_alone(straight, tmp_path):
    """Fewer examples: the same first shards, the last one shorter."""
    folder = write_synthetic_shards(replace(SYNTH, examples=25), TRAINING, tmp_path / "fewer")
    assert content(folder)["shard_00000.safetensors"] == content(straight)["shard_00000.safetensors"]
    assert len(open_shards(folder)) == 25


@pytest.mark.parametrize(
    ("synth", "training"),
    [
        ({"seed": 8}, {}),
        ({"examples": 80}, {}),
        ({}, {"data": replace(TRAINING.data, known_camera_share=0.1)}),
        ({}, {"poses": replace(TRAINING.poses, posture_share=0.0)}),
        ({}, {"measured_noise": "mediapipe"}),
    ],
)
def test_shards_of_another_configuration_are_not_mixed_in(straight, synth, training):
    before = content(straight)
    with pytest.raises(InputError, match=r"was made with .* = .*, not .*; use another folder"):
        write_synthetic_shards(replace(SYNTH, **synth), replace(TRAINING, **training), straight)
    assert content(straight) == before


def test_shards_of_another_pose_file_are_not_mixed_in(straight, tmp_path):
    np.savez(tmp_path / "poses.npz", poses=np.zeros((3, 24, 3)), split=np.zeros(3))
    with pytest.raises(InputError, match=r"was made with .* = .*, not .*; use another folder"):
        write_synthetic_shards(SYNTH, replace(TRAINING, pose_file=str(tmp_path / "poses.npz")), straight)


def test_a_damaged_plan(tmp_path):
    (tmp_path / "plan.json").write_text('{"synth": ')
    with pytest.raises(InputError, match=r"plan\.json"):
        write_synthetic_shards(SYNTH, TRAINING, tmp_path)


@pytest.mark.parametrize("wrong", [{"examples": 0}, {"shard_size": 0}, {"shard_size": -2}])
def test_sizes_must_be_positive(tmp_path, wrong):
    with pytest.raises(InputError, match="must be positive"):
        write_synthetic_shards(replace(SYNTH, **wrong), TRAINING, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    "more", [["--examples", "0"], ["--pose-file", "none.npz"], ["--config", "none.yaml"], ["--seed", "8"]]
)
def test_wrong_input_ends_in_exit_code_2_and_one_sentence(straight, capsys, more):
    assert main(command(straight, *more)) == 2
    said = capsys.readouterr().err
    assert said.startswith("hmralign: ") and said.count("\n") == 1


def test_pictures_are_of_the_same_persons_and_continue_as_they_began(straight, tmp_path):
    config = replace(SYNTH, examples=24, shard_size=12, pictures=32)
    folder = write_synthetic_shards(config, TRAINING, tmp_path / "pictures")
    shards = open_shards(folder)
    crop = shards.tensors["crop"]
    assert crop.shape == (24, 3, 32, 32) and bool(shards.tensors["has_crop"].all())
    assert crop.float().flatten(1).std(1).gt(3).float().mean() > 0.9, "there is something to see"
    seen = shards[torch.arange(24)].observation
    assert seen.crop is not None and torch.equal(seen.crop, crop)
    before = content(folder)
    (folder / "shard_00001.safetensors").unlink()
    (folder / "index.json").unlink()
    write_synthetic_shards(config, TRAINING, folder)
    assert content(folder) == before
    without = write_synthetic_shards(replace(config, pictures=None), TRAINING, tmp_path / "none")
    assert torch.equal(open_shards(without).tensors["keypoints"], shards.tensors["keypoints"])
    assert "pictures" not in json.loads((without / "index.json").read_text())["synth"]
    plain = replace(config, scene=SceneMix(pixelated_face=1.0))
    with pytest.raises(InputError):
        write_synthetic_shards(plain, TRAINING, folder)


@pytest.mark.parametrize("side", [0, 15, 5000])
def test_pictures_of_a_size_that_nothing_looks_at_are_refused(tmp_path, side):
    with pytest.raises(InputError, match="pictures of"):
        write_synthetic_shards(replace(SYNTH, pictures=side), TRAINING, tmp_path / "x")


def test_shards_with_and_without_pictures_are_not_mixed(straight, tmp_path):
    folder = write_synthetic_shards(replace(SYNTH, examples=20, pictures=16), TRAINING, tmp_path / "x")
    (folder / "shard_00001.safetensors").write_bytes((straight / "shard_00001.safetensors").read_bytes())
    with pytest.raises(InputError, match="have pictures and others have none"):
        open_shards(folder)


def test_a_users_own_pictures_stand_behind_persons(tmp_path):
    from PIL import Image

    behind = tmp_path / "behind"
    behind.mkdir()
    Image.new("RGB", (900, 40), (250, 10, 10)).save(behind / "red.png")
    (behind / "broken.png").write_bytes(b"no picture")
    scene = SceneMix(own_backgrounds=1.0)
    config = replace(SYNTH, examples=10, shard_size=10, pictures=32, scene=scene, backgrounds=str(behind))
    crop = open_shards(write_synthetic_shards(config, TRAINING, tmp_path / "red")).tensors["crop"].float()
    plain = open_shards(write_synthetic_shards(replace(config, backgrounds=None), TRAINING, tmp_path / "made"))
    assert (crop[:, 0] - crop[:, 1]).mean() > (plain.tensors["crop"][:, 0].float() - plain.tensors["crop"][:, 1]).mean()
    Image.new("RGB", (900, 40), (10, 250, 10)).save(behind / "red.png")
    with pytest.raises(InputError):  # other pictures, so other shards
        write_synthetic_shards(config, TRAINING, tmp_path / "red")
    (behind / "red.png").unlink()
    with pytest.raises(InputError, match="none of its pictures"):
        write_synthetic_shards(config, TRAINING, tmp_path / "none")
    with pytest.raises(InputError, match="no pictures are drawn"):
        write_synthetic_shards(replace(config, pictures=None), TRAINING, tmp_path / "none")
