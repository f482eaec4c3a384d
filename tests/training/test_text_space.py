"""Training of the text space: pairs and their mirror images, a resumed run is the straight run, nonsense is refused."""

import dataclasses

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.synthetic.poses import PoseMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.language.statements import STATEMENTS
from hmralign.models.language.checkpoint import load_text_space, save_pose_space
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig, mirrored_rotmats
from hmralign.models.language.sentence_memory import SentenceMemory
from hmralign.models.language.text_encoder import sentences
from hmralign.models.language.text_space import TextSpaceConfig
from hmralign.models.language.word_encoder import WordEncoder, WordEncoderConfig
from hmralign.structures import InputError
from hmralign.training import text_space
from hmralign.training.pose_draws import drawn_poses, pose_source
from hmralign.training.text_space import (
    TextSpaceTrainingConfig,
    known_sentences,
    symmetric_contrast,
    text_pose_pairs,
    train_text_space_file,
    training_pairs,
)
from support.tiny_text_encoders import save_tiny_sentence_encoder

BODY = load_free_body("3k5")
SMALL = TextSpaceTrainingConfig(
    model=TextSpaceConfig(width=32, depth=1, heads=2, shared=16), encoder="words", encoder_folder=None, pose_file=None,
    words=WordEncoderConfig(width=16, depth=1, heads=2, trigrams=64), poses=PoseMix(), views=ViewMix(), num_poses=40,
    captions=2, said_share=0.6, hidden_words=0.1, reconstruction_weight=0.05, batch_size=8, steps=40,
    learning_rate=3e-3, weight_decay=1e-2, ema_decay=0.9, save_every=20, seed=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def pose_space(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        space = PoseSpace(PoseSpaceConfig(width=32, depth=1, tokens=8, code_dim=4, codes=0)).eval()
    return str(save_pose_space(tmp_path_factory.mktemp("poses") / "p.safetensors", space, BODY.skeleton_hash))


@pytest.mark.parametrize("kind", ["small", "bag"])
def test_a_resumed_run_is_the_straight_run(tmp_path, pose_space, kind):
    config = dataclasses.replace(SMALL, pose_space=pose_space, words=dataclasses.replace(SMALL.words, kind=kind))
    straight = train_text_space_file(config, tmp_path / "straight")
    whole = text_space.falling_loop
    with pytest.MonkeyPatch.context() as patch:  # a run that ends early, at the rates of the whole one
        patch.setattr(
            text_space, "falling_loop", lambda *given, **more: dataclasses.replace(whole(*given, **more), steps=20)
        )
        train_text_space_file(config, tmp_path / "resumed")
    resumed = train_text_space_file(config, tmp_path / "resumed")
    first, second = (load_text_space(path, BODY.skeleton_hash) for path in (straight, resumed))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_what_is_learned_is_to_find_the_pose_and_the_pose_space_stays(tmp_path, pose_space):
    config = dataclasses.replace(SMALL, pose_space=pose_space, num_poses=12, captions=1, said_share=1.0, steps=120)
    config = dataclasses.replace(config, hidden_words=0.0, reconstruction_weight=0.0)
    space = load_text_space(train_text_space_file(config, tmp_path), BODY.skeleton_hash)
    pairs = training_pairs(config)
    table = space.text_features([texts[0] for texts in pairs.texts]) @ space.pose_features(pairs.rotmats).mT
    assert float((table.argmax(1) == torch.arange(len(table))).float().mean()) > 0.5  # of 24: chance is 0.04
    from hmralign.models.language.checkpoint import load_pose_space

    before = load_pose_space(pose_space, BODY.skeleton_hash).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in space.poses.state_dict().items())


def test_a_sentence_encoder_is_whitened_and_stays_outside(tmp_path, pose_space):
    folder = save_tiny_sentence_encoder(tmp_path / "encoder")
    config = dataclasses.replace(
        SMALL, pose_space=pose_space, encoder="sentence", encoder_folder=str(folder), steps=2, num_poses=10
    )
    path = train_text_space_file(config, tmp_path / "run")
    space = load_text_space(path, BODY.skeleton_hash, folder)
    assert space.encoder.name == "sentence" and torch.isfinite(space.text_features(["a person sits"])).all()


def test_words_may_be_borrowed_from_a_sentence_encoder(tmp_path, pose_space):
    folder = save_tiny_sentence_encoder(tmp_path / "encoder")
    config = dataclasses.replace(
        SMALL, pose_space=pose_space, encoder_folder=str(folder), borrowed_words=5, dropped_words=0.3, steps=2,
        num_poses=10,
    )  # fmt: skip
    encoder = load_text_space(train_text_space_file(config, tmp_path / "run"), BODY.skeleton_hash).own_encoder
    assert isinstance(encoder, WordEncoder) and set(encoder.vocabulary) <= set(encoder.borrowed)
    assert {"the", "left", "arm"} <= set(encoder.borrowed) and float(encoder.given.abs().max()) > 0


def test_with_a_memory_sentences_are_shares_of_statements(tmp_path, pose_space):
    folder = save_tiny_sentence_encoder(tmp_path / "encoder")
    config = dataclasses.replace(
        SMALL, pose_space=pose_space, encoder="sentence", encoder_folder=str(folder), memory=True, unknown_share=0.5,
        steps=3, num_poses=10,
    )  # fmt: skip
    memory = load_text_space(train_text_space_file(config, tmp_path / "run"), BODY.skeleton_hash, folder).encoder
    assert isinstance(memory, SentenceMemory) and memory.dims == sum(s.said for s in STATEMENTS)
    assert memory.looked_up == {} and torch.isfinite(memory(["sitting"])).all()


def test_known_sentences_are_those_that_captions_are_made_of():
    rotmats = drawn_poses(pose_source(PoseMix(), None, "val"), ViewMix(), 60, torch.Generator().manual_seed(0))
    pairs = text_pose_pairs(BODY, rotmats, 1, "say", seed=0)
    known = {k.text: k for k in known_sentences()}
    assert {s for texts in pairs.texts for text in texts for s in sentences(text)} <= set(known)
    assert {k.statement for k in known.values()} == set(range(sum(s.said for s in STATEMENTS)))


def test_dropped_words_leave_sides_and_stops():
    text = "the left arm is bent. the right leg is straight"
    draw = torch.Generator().manual_seed(0)
    some = text_space._with_dropped_words([text] * 200, 0.5, draw)
    assert all("left" in t and "right" in t and t.count(".") == 1 for t in some) and len(set(some)) > 20
    assert 0.4 < sum("arm" in t for t in some) / 200 < 0.6
    assert text_space._with_dropped_words([text], 0.0, draw) == [text]


def test_pairs_come_with_their_mirror_images():
    rotmats = drawn_poses(pose_source(PoseMix(), None, "val"), ViewMix(), 30, torch.Generator().manual_seed(0))
    pairs = text_pose_pairs(BODY, rotmats, 2, "say", seed=0)
    half = len(pairs.rotmats) // 2
    assert len(pairs.texts) == 2 * half <= 60 and half > 25
    assert torch.equal(pairs.rotmats[half:], mirrored_rotmats(pairs.rotmats[:half]))
    for i in range(half):
        mine, other = (" ".join(pairs.texts[i + j * half]) for j in (0, 1))
        sides = [sum(text.lower().count(side) for text in (mine,)) for side in ("left", "right")]
        assert sum(sides) == 0 or "left" in other.lower() or "right" in other.lower()
    assert all(sentences(text) for texts in pairs.texts for text in texts)
    assert pairs.texts == text_pose_pairs(BODY, rotmats, 2, "say", seed=0).texts
    assert pairs.texts != text_pose_pairs(BODY, rotmats, 2, "held_out", seed=0).texts


def test_contrast_is_cross_entropy_both_ways():
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    by_hand = [-(x.softmax(1).diagonal().log()) for x in (logits, logits.mT)]
    torch.testing.assert_close(symmetric_contrast(logits), (by_hand[0] + by_hand[1]) / 2)
    assert float(symmetric_contrast(100 * torch.eye(4)).max()) < 1e-6


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"captions": 0},
        {"batch_size": 1},
        {"said_share": 0.0},
        {"hidden_words": 1.0},
        {"dropped_words": -0.1},
        {"borrowed_words": -1},
        {"unknown_share": 1.5},
        {"memory": True, "encoder": "words"},
        {"reconstruction_weight": -1.0},
    ],
)
def test_configurations_without_meaning_are_refused(bad):
    with pytest.raises(InputError, match="text space training"):
        TextSpaceTrainingConfig(**bad)


def test_clip_needs_a_folder(tmp_path, pose_space):
    config = dataclasses.replace(SMALL, pose_space=pose_space, encoder="clip", num_poses=4)
    with pytest.raises(InputError, match="clip needs encoder_folder"):
        train_text_space_file(config, tmp_path)
