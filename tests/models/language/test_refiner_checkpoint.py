"""Checkpoints of refiners: what is written comes back, and nothing else is taken."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hmralign.body.free_body import load_free_body
from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.models.language.refiner import Refiner, RefinerConfig
from hmralign.models.language.refiner_checkpoint import SHIPPED_REFINER, load_refiner, refiner_path, save_refiner
from hmralign.structures import InputError

TINY = RefinerConfig(
    width=32, hidden=16, depth=1, context_width=24, context_depth=1, schedule=ScheduleConfig(num_steps=20)
)
SKELETON = "abc"


@pytest.fixture
def saved(tmp_path) -> Path:
    torch.manual_seed(0)
    return save_refiner(tmp_path / "r.safetensors", Refiner(TINY), SKELETON, half=False, sources=("prior:train",))


def header(**changes) -> dict[str, str]:
    config = {"width": 32, "hidden": 16, "depth": 1, "context_width": 24, "context_depth": 1}
    found = {"format_version": "1", "kind": "refiner", "skeleton_hash": SKELETON, "config": json.dumps(config)}
    return found | changes


def test_what_is_written_comes_back(saved):
    torch.manual_seed(0)
    expected, found = Refiner(TINY), load_refiner(saved, SKELETON)
    assert found.config == TINY and not found.training
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "lite"}, "kind 'lite', expected 'refiner'"),
        ({"format_version": "9"}, "checkpoint format 9"),
        ({"skeleton_hash": "other"}, "another skeleton"),
        ({"config": "{"}, "not JSON"),
        ({"config": "[]"}, "no mapping"),
        ({"config": '{"depth": 99999}'}, "expected 1..4096"),
        ({"config": '{"width": 33}'}, "multiple of 32"),
        ({"config": '{"schedule": {"kind": "quick"}}'}, "expected cosine or linear"),
        ({"config": '{"colour": 1}'}, "unknown fields"),
        ({"config": '{"width": 64}'}, "weights"),
    ],
)
def test_another_header_is_refused(saved, changes, message):
    save_file(load_file(saved), saved, header(**changes))
    with pytest.raises(InputError, match=message) as caught:
        load_refiner(saved, SKELETON)
    assert str(saved) in str(caught.value)


def test_damage_is_refused(saved, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_refiner(broken, SKELETON)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_refiner(tmp_path / "absent.safetensors", SKELETON)
    tensors = load_file(saved)
    tensors["scale"][3] = torch.nan
    save_file(tensors, broken, header())
    with pytest.raises(InputError, match="weight 'scale' holds values that are not finite"):
        load_refiner(broken, SKELETON)


def test_the_shipped_refiner_is_small_and_of_the_free_body():
    assert refiner_path(SHIPPED_REFINER).stat().st_size < 8e6
    refiner = load_refiner(SHIPPED_REFINER, load_free_body("3k5").skeleton_hash)
    assert bool((refiner.scale > 0).all()) and bool((refiner.gradient_scale > 0).all())
