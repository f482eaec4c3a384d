"""Trainings of the networks that read views: they learn, resume, and write what loads again."""

import json
from dataclasses import replace

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.models.multiview.corruption import Corruption
from hmralign.models.multiview.judge import JudgeConfig
from hmralign.models.multiview.reader_checkpoint import load_judge, load_skeleton, reader_path, save_judge
from hmralign.models.multiview.skeleton_network import SkeletonNetworkConfig
from hmralign.rendering.ring_persons import joint_pixels, mirrored_view
from hmralign.structures import InputError
from hmralign.training.multiview_readers import (
    JudgeTrainingConfig,
    ReaderTrainingConfig,
    SkeletonTrainingConfig,
    judge_on_ring,
    judge_quality,
    reader_persons,
    skeleton_quality,
    train_judge,
    train_skeleton,
)

BODY = load_free_body("3k5")
JUDGE = JudgeTrainingConfig(
    model=JudgeConfig(8, 1), persons=8, steps=60, batch_size=32, save_every=20, learning_rate=0.03, ema_decay=0.9
)
SKELETON = SkeletonTrainingConfig(
    model=SkeletonNetworkConfig(8, 8),
    persons=8,
    steps=40,
    batch_size=16,
    save_every=20,
    learning_rate=0.03,
    faults=Corruption(),
)


def last(folder):
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return {name: lines[-1][name] for name in ("step", "loss")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    return folder, train_judge(JUDGE, folder / "judge"), train_skeleton(SKELETON, folder / "skeleton")


def test_a_judge_learns_persons_it_has_seen(trained):
    _, path, _ = trained
    persons, untrained = reader_persons(JUDGE, "train", 8), train_judge_once(trained)
    error = [judge_quality(judge_on_ring(r, JUDGE.ring), persons)["mpjpe"].mean() for r in (untrained, read(path))]
    assert error[1] < 0.7 * error[0]


def read(path):
    return load_judge(path, BODY.skeleton_hash)


def train_judge_once(trained):
    return read(train_judge(replace(JUDGE, steps=1), trained[0] / "untrained"))


def test_a_skeleton_network_learns_persons_it_has_seen(trained):
    persons = reader_persons(SKELETON, "train", 8)
    network, features = load_skeleton(trained[2], BODY.skeleton_hash)
    quality = skeleton_quality(network, persons, SKELETON.ring, SKELETON.line_width)
    assert {name: value.shape for name, value in quality.items()} == dict.fromkeys(quality, (8,))
    assert quality["localisation"].mean() < 0.4 and quality["psnr"].mean() > 12
    assert features.config == SKELETON.model


def test_a_seed_gives_the_same_training(trained, tmp_path):
    train_judge(JUDGE, tmp_path)
    assert last(tmp_path) == last(trained[0] / "judge")


def test_mirrored_views_are_those_of_the_mirrored_body():
    persons = reader_persons(ReaderTrainingConfig(persons=2), "train", 2)
    views, places = persons.pixels[:, 0].float(), joint_pixels(persons.joints, JUDGE.ring)[:, 0]
    flipped, moved = mirrored_view(views, places)
    again, back = mirrored_view(flipped, moved)
    assert torch.equal(again, views)
    torch.testing.assert_close(back, places)
    torch.testing.assert_close(flipped[:, 3], views[:, 3].flip(-1))
    assert not torch.allclose(moved, places)


def test_splits_and_seeds_are_other_persons():
    one = reader_persons(JUDGE, "train", 4).joints
    assert torch.equal(one, reader_persons(JUDGE, "train", 4).joints)
    for config, split in ((JUDGE, "test"), (SKELETON, "train")):
        assert not torch.isclose(one, reader_persons(config, split, 4).joints).all((-1, -2)).any()


def test_checkpoints_of_another_kind_skeleton_or_size_are_refused(trained, tmp_path):
    _, judge, skeleton = trained
    with pytest.raises(InputError, match="of kind 'multiview_skeleton', expected 'multiview_judge'"):
        load_judge(skeleton, BODY.skeleton_hash)
    with pytest.raises(InputError, match="another skeleton"):
        load_skeleton(skeleton, "0" * 64)
    with pytest.raises(InputError, match="no such"):
        load_judge(tmp_path / "none.safetensors", BODY.skeleton_hash)
    wrong = read(judge)
    wrong.config = replace(wrong.config, width=16)
    with pytest.raises(InputError, match="do not fit"):
        read(save_judge(tmp_path / "wrong.safetensors", wrong, BODY.skeleton_hash))
    assert reader_path("multiview-judge").parent.name == "weights"
    with pytest.raises(InputError, match="at least 1"):
        JudgeTrainingConfig(steps=0)
