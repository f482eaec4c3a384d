"""Training of refiners: a continued run is the straight one, descriptions are varied, and it learns what it is for."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.models.checkpoint import load_checkpoint, trained_on
from hmralign.models.language.refiner import RefinerConfig
from hmralign.models.language.refiner_checkpoint import load_refiner
from hmralign.structures import InputError
from hmralign.training.refiner import (
    RefinerTrainingConfig,
    described,
    from_mean_body,
    refiner_sources,
    train_refiner,
    train_refiner_file,
)  # fmt: skip
from hmralign.training.refiner_pool import FirstAnswer, PoolConfig, RefinerPersons, refiner_pool

POOL = PoolConfig(
    persons=40, answers=(FirstAnswer("lite-lab", 2, 0.5), FirstAnswer("lite-lab", 1, 0.5)), measured_noise="mediapipe"
)
TINY = RefinerTrainingConfig(
    model=RefinerConfig(width=32, hidden=16, depth=1),
    pool=POOL, batch_size=8, steps=6, save_every=3, learning_rate=3e-3, ema_decay=0.5, hide=0.2,
    wrong_words=0.2, own_estimate=0.5, joints_weight=0.5, weight_decay=0.0, clip_norm=1.0, encoder="lite",
)  # fmt: skip


@cache
def pool() -> RefinerPersons:
    return refiner_pool(POOL, 0)


def test_a_pool_is_the_same_every_time_and_says_what_is_true():
    again, persons = refiner_pool(POOL, 0), pool()
    assert len(persons.betas) == 40 and torch.equal(again.start.rotmats, persons.start.rotmats)
    assert bool((persons.wanted.abs().sum(-1) > 0).any()) and bool(torch.isfinite(persons.context).all())
    assert not torch.equal(persons.start.rotmats, persons.rotmats)


def test_a_continued_run_is_the_straight_one(tmp_path):
    straight = train_refiner(TINY, tmp_path / "straight", pool())
    train_refiner(replace(TINY, steps=3), tmp_path / "halves", pool())
    state = torch.load(tmp_path / "halves/state.pt", weights_only=True)
    assert state["step"] == 3
    whole = train_refiner(TINY, tmp_path / "whole", pool())
    again = train_refiner(TINY, tmp_path / "whole", pool())
    for name, tensor in straight.state_dict().items():
        assert torch.equal(whole.state_dict()[name], tensor) and torch.equal(again.state_dict()[name], tensor), name


def test_training_lowers_the_loss_and_leaves_the_encoder_alone(tmp_path):
    config = replace(TINY, steps=60, wrong_words=0.0)
    path = train_refiner_file(config, tmp_path, pool())
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    body = load_free_body("3k5")
    refiner = load_refiner(path, body.skeleton_hash)
    own, lite = refiner.encoder.state_dict(), load_checkpoint("lite", body.skeleton_hash).encoder.state_dict()
    assert all(torch.allclose(own[name], lite[name], atol=1e-3) for name in lite)
    assert (tmp_path / "config.yaml").exists() and "prior:train" in trained_on(path)


def test_a_run_may_start_from_another(tmp_path):
    train_refiner(replace(TINY, steps=3), tmp_path / "first", pool())
    second = replace(TINY, steps=1, learning_rate=0.0, start_from=str(tmp_path / "first/state.pt"))
    found = train_refiner(second, tmp_path / "second", pool())
    before = torch.load(tmp_path / "first/state.pt", weights_only=True)["ema"]["module"]
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=1e-4, rtol=0)


def test_a_gaussian_start_is_one_body_for_all(tmp_path):
    rotmats, betas = pool().rotmats[0], pool().betas[0]
    same = from_mean_body(pool(), rotmats, betas)
    assert torch.equal(same.start.rotmats[7], rotmats) and torch.equal(same.rotmats, pool().rotmats)
    refiner = train_refiner(replace(TINY, start="gaussian", steps=1), tmp_path, pool())
    torch.testing.assert_close(torch.linalg.det(refiner.mean_rotmats), torch.ones(24))


def test_descriptions_are_cut_short_and_some_are_anothers():
    draw = torch.Generator().manual_seed(0)
    wanted = torch.zeros(400, 10)
    wanted[::2, :5], wanted[1::2, 5:] = 1.0, 1.0
    honest = described(wanted, 0.0, draw)
    assert bool(((honest != 0) <= (wanted != 0)).all()) and 0.5 < float(honest.sum() / wanted.sum()) < 0.8
    mixed = described(wanted, 1.0, draw)
    assert float(((mixed != 0) & (wanted == 0)).float().mean()) > 0.1


def test_sources_name_the_encoder_and_who_answered_first():
    assert set(refiner_sources(TINY)) >= {"prior:train", *trained_on("lite"), *trained_on("lite-lab")}


@pytest.mark.parametrize(
    "values", [{"steps": 0}, {"batch_size": 0}, {"save_every": 0}, {"hide": 1.5}, {"wrong_words": -1.0}]
)
def test_settings_without_meaning_are_refused(values):
    with pytest.raises(InputError):
        RefinerTrainingConfig(**values)


def test_pools_without_meaning_are_refused():
    with pytest.raises(InputError):
        PoolConfig(persons=1)
    with pytest.raises(InputError):
        PoolConfig(answers=())
    with pytest.raises(InputError):
        FirstAnswer(hypotheses=0)


def test_an_encoder_of_another_width_is_refused(tmp_path):
    with pytest.raises(InputError, match="'lite-lab' is not one of 384 channels"):
        train_refiner(replace(TINY, encoder="lite-lab"), tmp_path, pool())
