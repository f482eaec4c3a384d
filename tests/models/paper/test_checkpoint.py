"""Checkpoints of HypoNet: a round trip, and files that are refused."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hmralign.models.checkpoint import checkpoint_kind, trained_on
from hmralign.models.paper.checkpoint import PaperModel, load_hyponet, save_hyponet
from hmralign.structures import InputError
from support.tiny_paper import TINY_PAPER, own_config, tiny_paper

SKELETON = "a" * 64


@pytest.fixture
def saved(tmp_path):
    return save_hyponet(tmp_path / "tiny.safetensors", tiny_paper(), SKELETON, sources=("theirs",))


def rewritten(path, change_header=None, change_tensors=None):
    """The file with another header or other tensors."""
    with safe_open(path, "pt") as handle:
        header = dict(handle.metadata())
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}
    (change_header or (lambda header: None))(header)
    (change_tensors or (lambda tensors: None))(tensors)
    save_file(tensors, path, header)
    return path


def changed(**values):
    def change(header):
        header["config"] = json.dumps({**json.loads(header["config"]), **values})

    return change


def test_a_model_comes_back(saved):
    model = load_hyponet(saved, SKELETON)
    assert model.config == TINY_PAPER and not model.training
    theirs = tiny_paper().state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())
    assert checkpoint_kind(saved) == "hyponet" and trained_on(saved) == ("theirs",)
    own = save_hyponet(saved.with_name("own.safetensors"), PaperModel(own_config()), SKELETON, half=True)
    assert load_hyponet(own, SKELETON).config == own_config()
    assert own.stat().st_size < 0.6 * saved.stat().st_size


def test_masked_weights_are_zero_once_loaded(saved):
    mask = tiny_paper().denoiser.linear_start_j.mask
    filled = rewritten(saved, change_tensors=lambda t: t["denoiser.linear_start_j.weight"].add_(1))
    weight = load_hyponet(filled, SKELETON).denoiser.linear_start_j.weight
    assert not (weight * (1 - mask)).any() and (weight * mask).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h.update(format_version="2"), "format 2"),
        (lambda h: h.update(kind="lite"), "expected 'hyponet'"),
        (lambda h: h.update(skeleton_hash="b" * 64), "another skeleton"),
        (lambda h: h.update(config="{"), "not JSON"),
        (lambda h: h.update(config="[]"), "no mapping"),
        (changed(depth=3), "unknown fields"),
        (changed(width=10**6), "whole number in 1..4096"),
        (changed(width=True), "whole number"),
        (changed(hops=[1] * 1000), "list of whole numbers"),
        (changed(hops=[0]), "list of whole numbers"),
        (changed(dropout=2), "number in 0..1"),
        (changed(width=80), "multiple of 64"),
        (changed(width=128), "do not fit the model"),
        (changed(quirks={"naive_ik": 1}), "true or false"),
        (changed(quirks={"other": True}), "unknown fields"),
        (changed(encoder={**asdict(TINY_PAPER.encoder), "channels": [8, 8, 8]}), "list of whole numbers"),
        (changed(encoder={**asdict(TINY_PAPER.encoder), "blocks": 1000}), r"1\.\.32"),
        (changed(schedule={"kind": "quadratic"}), "cosine or linear"),
        (changed(schedule=7), "no mapping"),
    ],
)
def test_a_header_that_lies_is_refused_by_name(saved, change, said):
    with pytest.raises(InputError, match=said) as refused:
        load_hyponet(rewritten(saved, change), SKELETON)
    assert str(saved) in str(refused.value)


def test_weights_that_do_not_fit_or_are_not_finite_are_refused(saved, tmp_path):
    with pytest.raises(InputError, match="not finite"):
        load_hyponet(rewritten(saved, None, lambda t: t["encoder.conv1.weight"].fill_(torch.nan)), SKELETON)
    with pytest.raises(InputError, match=r"1 of them differ, such as 'encoder\.conv1\.weight'"):
        load_hyponet(rewritten(saved, None, lambda t: t.pop("encoder.conv1.weight")), SKELETON)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_hyponet(tmp_path / "absent.safetensors", SKELETON)
    (tmp_path / "torn.safetensors").write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_hyponet(tmp_path / "torn.safetensors", SKELETON)
    with pytest.raises(InputError, match="not finite"):
        huge = PaperModel(replace(TINY_PAPER))
        torch.nn.init.constant_(huge.encoder.conv1.weight, 1e30)
        save_hyponet(tmp_path / "huge.safetensors", huge, SKELETON, half=True)
