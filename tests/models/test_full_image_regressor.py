"""The regressor reads where the box lies, and puts its body where its crop camera says."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.geometry.cameras import CROP_MARGIN, project
from hmralign.models.full_image_checkpoint import load_regressor, save_regressor
from hmralign.models.full_image_regressor import (
    FullImageConfig,
    FullImageRegressor,
    KeypointTrunkConfig,
    RegressedBody,
    observed_box_code,
    placed_body,
)
from hmralign.models.paper.vit_trunk import VitTrunkConfig
from hmralign.structures import InputError
from support.pixel_persons import pictured
from support.synthetic_persons import BODY, persons

SMALL = FullImageConfig(keypoints=KeypointTrunkConfig(width=32, depth=1, encoder_depth=1))
TINY_VIT = VitTrunkConfig(
    height=64, image_width=48, patch=16, channels=32, depth=2, heads=2, width=24, decoder_depth=1, decoder_heads=2,
    feedforward=32,
)  # fmt: skip
PIXELS = FullImageConfig(trunk="pixels", pixels=TINY_VIT)


def regressor(config=SMALL):
    torch.manual_seed(0)
    model = FullImageRegressor(config)
    torch.nn.init.normal_(model.head.weight, std=0.05)
    return model.eval().requires_grad_(False)


def test_it_begins_with_an_upright_body_that_faces_the_camera_and_fills_the_box():
    seen = persons(4).observation
    torch.manual_seed(0)
    model = FullImageRegressor(SMALL)
    torch.nn.init.zeros_(model.head.weight)
    found = model(seen)
    torch.testing.assert_close(found.rotmats[:, 0], torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(4, 3, 3))
    torch.testing.assert_close(found.rotmats[:, 1:], torch.eye(3).expand(4, 23, 3, 3))
    joints = posed_joints(BODY, placed_body(BODY, found, seen))
    side = CROP_MARGIN * (seen.box[:, 2:] - seen.box[:, :2]).amax(-1)
    tall = project(joints, seen.K)[..., 1]
    share = (tall.amax(1) - tall.amin(1)) / side
    assert bool(((share > 0.6) & (share < 1.1)).all()), share


def test_the_pelvis_is_drawn_where_the_camera_of_the_crop_puts_it():
    seen = persons(5).observation
    found = replace(regressor()(seen), camera=torch.tensor([[0.8, 0.1, -0.2]]).expand(5, 3))
    placed = placed_body(BODY, found, seen)
    pixels = project(posed_joints(BODY, placed)[:, :1], seen.K)[:, 0]
    side = CROP_MARGIN * (seen.box[:, 2:] - seen.box[:, :2]).amax(-1, keepdim=True)
    middle = (seen.box[:, :2] + seen.box[:, 2:]) / 2
    torch.testing.assert_close(pixels, middle + side / 2 * 0.8 * torch.tensor([0.1, -0.2]), rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("config", [SMALL, PIXELS])
def test_bodies_are_rotations_and_depend_on_where_the_box_lies(config):
    seen = pictured(persons(3).observation)
    model = regressor(config)
    found = model(seen)
    assert found.rotmats.shape == (3, 24, 3, 3) and found.betas.shape == (3, 10)
    assert bool((found.camera[:, 0] > 0).all())
    eye = torch.eye(3).expand(3, 24, 3, 3)
    torch.testing.assert_close(found.rotmats @ found.rotmats.mT, eye, atol=1e-5, rtol=0)
    shift = torch.tensor([300.0, 0.0])
    moved = replace(
        seen, keypoints=seen.keypoints + shift, box=seen.box + shift.repeat(2), knows_camera=torch.zeros(3).bool()
    )
    at_home = replace(seen, knows_camera=torch.zeros(3).bool())  # the crop is then taken as it is, but for its place
    assert not torch.allclose(observed_box_code(moved), observed_box_code(at_home))
    assert float((model(moved).rotmats - model(at_home).rotmats).abs().max()) > 1e-4


def test_one_person_does_not_depend_on_the_others():
    seen = pictured(persons(4).observation)
    for config in (SMALL, PIXELS):
        model = regressor(config)
        torch.testing.assert_close(model(seen)[1:2].rotmats, model(seen[1:2]).rotmats, atol=1e-5, rtol=0)


def test_pixels_are_needed_by_the_trunk_that_looks_at_them():
    with pytest.raises(InputError, match="looks at pixels"):
        regressor(PIXELS)(persons(2).observation)


def test_sizes_that_do_not_divide_are_refused():
    for wrong in ({"height": 250}, {"image_width": 272}, {"heads": 3}, {"decoder_heads": 5}):
        with pytest.raises(InputError, match="expected"):
            VitTrunkConfig(**wrong)


@pytest.mark.parametrize("config", [SMALL, PIXELS])
def test_a_checkpoint_gives_the_same_bodies(tmp_path, config):
    model = regressor(config)
    path = save_regressor(tmp_path / "r.safetensors", model, BODY.skeleton_hash, half=False, sources=("prior:train",))
    seen = pictured(persons(2).observation)
    again = load_regressor(path, BODY.skeleton_hash)
    assert again.config == config and not again.training
    assert torch.equal(again(seen).rotmats, model(seen).rotmats)
    with pytest.raises(InputError, match="another skeleton"):
        load_regressor(path, "0" * 64)


def test_a_foreign_or_forged_checkpoint_is_refused(tmp_path):
    from safetensors.torch import save_file

    model = regressor()
    path = save_regressor(tmp_path / "r.safetensors", model, BODY.skeleton_hash)
    from hmralign.models.checkpoint import load_checkpoint

    with pytest.raises(InputError, match="kind 'regressor'"):
        load_checkpoint(path, BODY.skeleton_hash)
    header = {"format_version": "1", "kind": "regressor", "skeleton_hash": BODY.skeleton_hash, "config": "{}"}
    for config, words in (('{"trunk": "both"}', "trunk"), ('{"pixels": {"depth": 4000}}', "depth"), ("{}", "fit")):
        save_file(model.state_dict(), path, {**header, "config": config})
        with pytest.raises(InputError, match=words):
            load_regressor(path, BODY.skeleton_hash)


def test_regressed_bodies_are_a_record():
    found = regressor()(persons(3).observation)
    assert isinstance(found[:2], RegressedBody) and found[:2].camera.shape == (2, 3)
