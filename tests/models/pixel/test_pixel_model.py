"""The pixel model is the lite model where it sees nothing, and its checkpoints are what they say."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from hmralign.models.checkpoint import checkpoint_kind, load_checkpoint, trained_on
from hmralign.models.denoiser import LiteConfig
from hmralign.models.person_frame import person_frame
from hmralign.models.pixel.checkpoint import load_pixel, save_pixel
from hmralign.models.pixel.pixel_model import PixelConfig, PixelModel
from hmralign.structures import InputError
from support.pixel_persons import CONFIG, pictured_persons, tiny_pixel_checkpoint, tiny_pixel_model
from support.synthetic_persons import BODY, persons, tiny_model


def _tokens(model, observation):
    return model.context(model.features(observation, person_frame(observation))).global_tokens


def test_a_new_reader_adds_nothing():
    torch.manual_seed(0)
    fresh = PixelModel(CONFIG)
    fresh.load_state_dict(tiny_model().state_dict(), strict=False)
    seen = pictured_persons(5)
    assert torch.equal(_tokens(fresh.eval(), seen), _tokens(tiny_model(), persons(5).observation))


def test_what_is_seen_changes_the_context_of_whoever_has_a_crop():
    model, seen = tiny_pixel_model(), pictured_persons(5)
    other = replace(pictured_persons(5, seed=9), has_crop=torch.tensor([True, True, False, True, True]))
    moved = (_tokens(model, seen) - _tokens(model, other)).abs().flatten(1).amax(1)
    assert (moved > 1e-4).all()
    without = replace(seen, has_crop=torch.zeros(5, dtype=torch.bool))
    torch.testing.assert_close(_tokens(model, without), _tokens(tiny_model(), persons(5).observation))


def test_persons_are_read_alone():
    model, seen = tiny_pixel_model(), pictured_persons(5)
    torch.testing.assert_close(_tokens(model, seen)[2:4], _tokens(model, seen[2:4]), atol=1e-5, rtol=1e-4)


def test_it_refuses_persons_without_pixels():
    with pytest.raises(InputError, match="looks at pixels"):
        _tokens(tiny_pixel_model(), persons(2).observation)


@pytest.mark.parametrize("change", [{"token": 4}, {"channels": (4, 4, 4, 8)}, {"depth": 2}])
def test_sizes_are_those_of_the_configuration(change):
    config = replace(CONFIG, **change)
    count = sum(p.numel() for p in PixelModel(config).parameters())
    assert count != sum(p.numel() for p in PixelModel(CONFIG).parameters())


def test_sizes_without_meaning_are_refused():
    with pytest.raises(InputError, match="residual MLP"):
        PixelConfig(LiteConfig(width=32, architecture="transformer"))
    with pytest.raises(InputError, match="four convolutions"):
        PixelConfig(channels=(1, 2, 3))


def test_a_checkpoint_is_what_was_saved(tmp_path):
    path = tiny_pixel_checkpoint(tmp_path / "p.safetensors")
    model = load_pixel(path, BODY.skeleton_hash)
    assert model.pixel_config == CONFIG and model.pixel_config.crop_side == 32 and not model.training
    assert checkpoint_kind(path) == "pixel" and trained_on(path) == ("tiny",)
    seen = pictured_persons(3)
    assert torch.equal(_tokens(model, seen), _tokens(tiny_pixel_model(), seen))
    half = save_pixel(tmp_path / "h.safetensors", tiny_pixel_model(), BODY.skeleton_hash)
    assert half.stat().st_size < 0.7 * path.stat().st_size


def _rewritten(path, change_header=None, change_tensors=None):
    from safetensors import safe_open

    with safe_open(path, "pt") as handle:
        header = dict(handle.metadata())
    tensors = load_file(path)
    header.update(change_header or {})
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, path, header)
    return path


@pytest.mark.parametrize(
    "header, said",
    [({"kind": "lite"}, "kind 'lite'"), ({"format_version": "9"}, "format 9"), ({"skeleton_hash": "ab"}, "skeleton"),
     ({"pixels": "{"}, "not JSON"), ({"pixels": "[1]"}, "no mapping"), ({"pixels": '{"token": 100000}'}, "token"),
     ({"pixels": '{"depth": true}'}, "depth"), ({"pixels": '{"lite": 1}'}, "no mapping"),
     ({"pixels": '{"colour": 1}'}, "unknown fields"), ({"pixels": json.dumps({"channels": [4, 4]})}, "four conv"),
     ({"pixels": '{"token": 9}'}, "do not fit"), ({"config": "{}"}, "do not fit")],
)  # fmt: skip
def test_headers_are_not_believed(tmp_path, header, said):
    path = _rewritten(tiny_pixel_checkpoint(tmp_path / "p.safetensors"), header)
    with pytest.raises(InputError, match=said) as error:
        load_pixel(path, BODY.skeleton_hash)
    assert str(path) in str(error.value)


def test_weights_that_are_missing_or_not_finite_are_named(tmp_path):
    path = tiny_pixel_checkpoint(tmp_path / "p.safetensors")
    _rewritten(path, change_tensors=lambda t: t["encoder.pixels.out.bias"].fill_(float("nan")))
    with pytest.raises(InputError, match=r"pixels\.out\.bias"):
        load_pixel(path, BODY.skeleton_hash)
    _rewritten(tiny_pixel_checkpoint(path), change_tensors=lambda t: t.pop("encoder.pixels.out.bias"))
    with pytest.raises(InputError, match="do not fit"):
        load_pixel(path, BODY.skeleton_hash)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="safetensors"):
        load_pixel(path, BODY.skeleton_hash)


def test_the_lite_loader_refuses_it_by_its_kind(tmp_path):
    with pytest.raises(InputError, match="kind 'pixel'"):
        load_checkpoint(tiny_pixel_checkpoint(tmp_path / "p.safetensors"), BODY.skeleton_hash)
