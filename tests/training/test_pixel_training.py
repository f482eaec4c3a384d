"""Training of the pixel model: what it minimises, what its settings do, and that a run is continued as it began."""

import json
from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.data.shards import write_index, write_shard
from hmralign.models.checkpoint import save_checkpoint
from hmralign.models.pixel.checkpoint import save_pixel
from hmralign.models.pixel.limb_tilts import limb_tilts
from hmralign.models.pixel.part_patches import LIMB_JOINTS
from hmralign.structures import Annotation, Example, InputError
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.pixel import (
    PixelTrainingConfig,
    pixel_sources,
    pixel_step,
    read_pictured,
    starting_model,
    train_pixel,
    with_mirror_images,
)
from support.pixel_persons import pictured
from support.synthetic_persons import BODY, mirrored, mirrored_body, persons, tiny_model

FRESH = BaseTrainingConfig(batch_size=8, measured_noise=None)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixel")
    example = persons(24)
    write_shard(folder / "shards", 0, replace(example, observation=pictured(example.observation)))
    write_index(folder / "shards", examples=24)
    start = save_checkpoint(folder / "start.safetensors", tiny_model(), BODY.skeleton_hash, half=False)
    return PixelTrainingConfig(
        start_from=str(start), token=8, channels=(4, 4, 4, 4), depth=1, shards=(str(folder / "shards"),), fresh=FRESH,
        batch_size=12, draws=2, steps=6, learning_rate=1e-2, save_every=2, ema_decay=0.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, train_pixel(config, folder)


def _state(model):
    return torch.cat([v.flatten().float() for v in model.state_dict().values()])


def test_a_run_moves_the_reader_and_the_rest_and_says_how_it_went(trained, config):
    folder, model = trained
    start = starting_model(config).state_dict()
    moved = {name for name, v in model.state_dict().items() if not torch.equal(v, start[name])}
    assert {"encoder.pixels.out.weight", "encoder.pixels.tilt.weight", "encoder.embed.weight"} <= moved
    assert "denoiser.head.weight" in moved and "encoder.pixels.limbs.layers.0.weight" in moved
    assert (folder / "state.pt").exists()


def test_a_continued_run_is_the_straight_one(trained, config, tmp_path):
    train_pixel(replace(config, steps=4), tmp_path)  # stops with another rate in its last steps
    (tmp_path / "state.pt").unlink()
    again = train_pixel(config, tmp_path)
    assert torch.equal(_state(again), _state(trained[1]))
    resumed = tmp_path / "resumed"
    constant = replace(config, steps=6, max_hours=1.0)
    train_pixel(constant, resumed)
    assert json.loads(json.dumps(list(torch.load(resumed / "state.pt", weights_only=True)))), "a state to go on from"


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"use_pixels": False}, {"tilt_weight": 0.0}, {"betas_weight": 5.0}, {"draws": 1},
     {"learning_rate": 1e-4}, {"weight_decay": 0.9}, {"clip_norm": 1e-3}, {"ema_decay": 0.0}, {"batch_size": 4},
     {"token": 4}, {"depth": 2}, {"channels": (4, 4, 4, 8)}],
)  # fmt: skip
def test_every_setting_changes_the_weights(trained, config, tmp_path, change):
    other = train_pixel(replace(config, **change), tmp_path)
    ours, theirs = _state(trained[1]), _state(other)
    assert ours.shape != theirs.shape or not torch.equal(ours, theirs)


def test_the_control_sees_the_same_persons_without_their_pictures(config):
    step = pixel_step(replace(config, use_pixels=False), read_pictured(config.shards))
    model = starting_model(config)
    for part in step(model, 0):
        part.loss().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.encoder.pixels.parameters())
    assert model.encoder.embed.weight.grad is not None


def test_no_pictures_share_is_the_lite_loss(config):
    """The fresh part never asks the reader: its loss is that of a model whose reader says anything."""
    model, persons_ = starting_model(config), read_pictured(config.shards)
    plain = [part.loss().item() for part in pixel_step(config, persons_)(model, 0)][1]
    torch.nn.init.constant_(model.encoder.pixels.out.bias, 3.0)
    loud = [part.loss().item() for part in pixel_step(config, persons_)(model, 0)]
    assert loud[1] == pytest.approx(plain)


def test_tilts_are_sines_of_angles_away_from_the_camera():
    example = persons(6)
    assert example.annotation is not None
    joints = example.annotation.joints
    tilt = limb_tilts(joints)
    for person in range(6):
        for limb, (a, b) in enumerate(LIMB_JOINTS):
            start, end = joints[person, a], joints[person, b]
            cosine = torch.dot(end - start, start) / ((end - start).norm() * start.norm())
            assert float(tilt[person, limb]) == pytest.approx(float(cosine), abs=1e-4)


def test_mirror_images_are_those_of_mirrored_persons(tmp_path):
    example = persons(4)
    assert example.annotation is not None
    seen = pictured(example.observation)
    assert seen.crop is not None
    other_seen = replace(mirrored(example.observation), crop=seen.crop.flip(-1), has_crop=seen.has_crop)
    body = mirrored_body(example.annotation.body)
    other = Example(other_seen, Annotation(body, posed_joints(BODY, body)))
    for name, e in (("plain", replace(example, observation=seen)), ("mirrored", other)):
        write_shard(tmp_path / name, 0, e)
    plain, theirs = (read_pictured((str(tmp_path / name),)) for name in ("plain", "mirrored"))
    ours = with_mirror_images(plain, torch.ones(4, dtype=torch.bool))
    for name, tensor in ours.tensors().items():
        difference = (tensor.float() - theirs.tensors()[name].float()).abs()
        assert difference.max() < (3 if "patches" in name or name == "mask" else 2e-2), name


def test_sources_name_all_that_was_learned_from(config):
    assert pixel_sources(config) == ("prior:train", "shards:train")


@pytest.mark.parametrize(
    "change, said",
    [({"batch_size": 0}, "batch_size"), ({"tilt_weight": -1.0}, "tilt_weight"), ({"ema_decay": 1.0}, "ema_decay"),
     ({"save_every": 0}, "save_every"), ({"learning_rate": float("nan")}, "learning_rate")],
)  # fmt: skip
def test_settings_without_meaning_are_named(config, change, said):
    with pytest.raises(InputError, match=said):
        replace(config, **change)


def test_shards_that_are_missing_or_have_no_pictures_are_named(config, tmp_path):
    with pytest.raises(InputError, match="no shards"):
        read_pictured(())
    write_shard(tmp_path, 0, persons(3))
    with pytest.raises(InputError, match="no pictures"):
        read_pictured((str(tmp_path),))


def test_a_pixel_model_is_trained_on(trained, config, tmp_path):
    path = save_pixel(tmp_path / "p.safetensors", trained[1], BODY.skeleton_hash, half=False)
    start = starting_model(replace(config, start_from=str(path)))
    assert torch.equal(_state(start), _state(trained[1])) and all(p.requires_grad for p in start.parameters())
    on = train_pixel(replace(config, start_from=str(path), steps=1), tmp_path / "on")
    assert not torch.equal(_state(on), _state(start))
