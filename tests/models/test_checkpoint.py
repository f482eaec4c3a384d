"""Checkpoints: what is written is read back, and nothing else is ever loaded or run."""

import io
import json
import os
import pickle
from dataclasses import asdict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hmralign.models.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from hmralign.models.context import keypoint_features
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.models.person_frame import person_frame
from hmralign.structures import InputError
from support.synthetic_persons import TINY, persons, tiny_model

SKELETON = "a" * 64


@pytest.fixture
def written(tmp_path):
    return save_checkpoint(tmp_path / "tiny.safetensors", tiny_model(), SKELETON)


def rewritten(path, change_header=None, change_tensors=None, change_config=None):
    """The checkpoint with its header, its configuration or its weights changed."""
    with safe_open(path, framework="pt") as handle:
        header = dict(handle.metadata())
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}
    if change_config is not None:
        header["config"] = json.dumps({**json.loads(header["config"]), **change_config})
    header = {k: v for k, v in {**header, **(change_header or {})}.items() if v is not None}
    tensors = {k: v for k, v in {**tensors, **(change_tensors or {})}.items() if v is not None}
    save_file(tensors, path, metadata=header)
    return path


def refusal(path, skeleton=SKELETON):
    with pytest.raises(InputError) as caught:
        load_checkpoint(path, skeleton)
    assert str(path) in str(caught.value), "the offender is named"
    return str(caught.value)


def test_round_trip_keeps_weights_to_half_precision_and_predictions_close(written):
    model, again = tiny_model(), load_checkpoint(written, SKELETON)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-4, rtol=1e-3)
        assert again.state_dict()[name].dtype == torch.float32
    assert again.config == model.config and not again.training
    assert not any(p.requires_grad for p in again.parameters())
    o = persons().observation
    features = keypoint_features(o, person_frame(o))
    torch.testing.assert_close(again.context(features).betas, model.context(features).betas, atol=1e-2, rtol=0)


def test_full_precision_round_trip_is_exact(tmp_path):
    model = tiny_model()
    again = load_checkpoint(save_checkpoint(tmp_path / "m.safetensors", model, SKELETON, half=False), SKELETON)
    assert all(torch.equal(again.state_dict()[k], v) for k, v in model.state_dict().items())


def test_nothing_is_left_beside_the_file(written):
    assert [p.name for p in written.parent.iterdir()] == ["tiny.safetensors"]


def test_the_default_model_fits_into_sixteen_megabytes():
    numbers = sum(t.numel() for t in LiteModel(LiteConfig()).state_dict().values())
    assert numbers * 2 <= 16 * 2**20


def test_shipped_weights_go_by_name_and_others_by_path():
    assert checkpoint_path("lite").name == "lite.safetensors" and checkpoint_path("lite").parent.name == "weights"
    assert str(checkpoint_path("runs/lite.safetensors")) == os.path.join("runs", "lite.safetensors")


def test_missing_file(tmp_path):
    assert "no such checkpoint" in refusal(tmp_path / "none.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path):
    assert "no such checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_file(written, keep):
    written.write_bytes(written.read_bytes()[:keep])
    assert "not a whole safetensors file" in refusal(written)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "photo.safetensors"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    assert "not a whole safetensors file" in refusal(path)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_with_code_is_refused_and_its_code_never_runs(tmp_path, writer):
    marker, path = tmp_path / "was_here", tmp_path / "model.safetensors"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Malicious(marker)))
    else:
        torch.save({"weights": Malicious(marker)}, path)
    assert "not a whole safetensors file" in refusal(path)
    assert not marker.exists()
    # The same bytes do run when they are unpickled, so the test is able to fail.
    if writer == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    assert marker.exists()


def test_wrong_skeleton(written):
    assert "another skeleton (aaaaaaaaaaaa..., this body is bbbb" in refusal(written, "b" * 64)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"format_version": "2"}, "format 2, this program reads 1"),
        ({"format_version": None}, "format none"),
        ({"kind": "hyponet"}, "kind 'hyponet'"),
        ({"skeleton_hash": None}, "another skeleton"),
        ({"config": None}, "configuration is not JSON"),
        ({"config": "{width: 3"}, "configuration is not JSON"),
        ({"config": "[1]"}, "no mapping"),
        ({"config": '{"schedule": 3}'}, "no mapping"),
    ],
)
def test_wrong_header(written, header, words):
    assert words in refusal(rewritten(written, header))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"attention_heads": 4}, "unknown fields ['attention_heads']; a newer version"),
        ({"schedule": {"kind": "cosine", "num_steps": 10, "warp": 1}}, "unknown fields ['warp']"),
        ({"schedule": {"kind": "exec", "num_steps": 10}}, "kind = 'exec'"),
        ({"schedule": {"kind": "cosine", "num_steps": 10**12}}, "num_steps = 1000000000000"),
        ({"clamp": float("inf")}, "clamp = inf"),
        ({"width": 10**9}, "width = 1000000000"),
        ({"depth": -1}, "depth = -1"),
        ({"hidden": "64"}, "hidden = '64'"),
        ({"depth": True}, "depth = True"),
        ({"clamp": 0}, "clamp = 0"),
        ({"clamp": "5"}, "clamp = '5'"),
        ({"width": 64}, "weights do not fit"),
        ({"width": 16384, "hidden": 16384, "context_width": 16384}, "weights do not fit"),
    ],
)
def test_wrong_configuration(written, config, words):
    assert words in refusal(rewritten(written, change_config=config))


def test_fields_that_an_older_version_did_not_write_keep_their_defaults(written):
    config = asdict(TINY)
    del config["clamp"], config["schedule"]
    assert load_checkpoint(rewritten(written, {"config": json.dumps(config)}), SKELETON).config == TINY


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(written, value):
    bias = torch.full((130,), value, dtype=torch.float16)
    assert "'denoiser.head.bias'" in refusal(rewritten(written, change_tensors={"denoiser.head.bias": bias}))


@pytest.mark.parametrize(
    "tensors",
    [{"denoiser.head.bias": None}, {"more.weights": torch.zeros(3)}, {"denoiser.head.bias": torch.zeros(131)}],
)
def test_weights_that_do_not_fit(written, tensors):
    assert "weights do not fit" in refusal(rewritten(written, change_tensors=tensors))


def test_weights_too_large_for_half_precision_are_not_written(tmp_path):
    model = tiny_model()
    model.denoiser.head.bias[0] = 1e6
    with pytest.raises(InputError, match=r"denoiser\.head\.bias"):
        save_checkpoint(tmp_path / "m.safetensors", model, SKELETON)
    assert not list(tmp_path.iterdir())
