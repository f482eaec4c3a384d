"""Training of ScoreNet and HMR-Scorer at tiny size: what is ranked, that they learn it, and that a run is continued."""

import json
import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import judge
from hmralign.data.dataset import DatasetFacts, DatasetPersons
from hmralign.models.paper.vit import VitConfig
from hmralign.models.published.scorers import save_published_scorer
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.storage.presets import preset_path
from hmralign.structures import Example, InputError
from hmralign.training.configuration import read_config
from hmralign.training.loop import Loop
from hmralign.training.paper_configuration import MixedData
from hmralign.training.published_scorers import (
    RankedPersons,
    RankingConfig,
    RankingLosses,
    ranked_persons,
    ranking_step,
    starting_scorer,
    train_ranking,
)
from support.published_snapshots import TINY_SCORER
from support.synthetic_persons import BODY
from support.tiny_paper import TINY_PAPER, seen_persons, tiny_hyponet, tiny_paper

EIGHT = seen_persons(8, known=1.0)
PERSONS = DatasetPersons(DatasetFacts("mine/train", "a test", "CC0", "cam, metres"), EIGHT, "0" * 64)
SCORER = replace(
    TINY_SCORER, score_width=64, dropout=0.0, start_dropout=0.0,
    encoder=VitConfig(channels=8, depth=1, heads=2, task_tokens=2),
)  # fmt: skip
MODEL = replace(TINY_PAPER, dropout=0.0, start_dropout=0.0)
SCORENET = RankingConfig(
    model=MODEL, hypotheses=(4,), batch_size=8, learning_rate=2e-3, ema_decay=0.5, log_every=1, save_every=2
)
HMR = replace(
    SCORENET, kind="hmr-scorer", scorer=SCORER, model=replace(MODEL, image_size=256),
    metrics=("pve", "pa_pve", "mpjpe", "pa_mpjpe"),
    learning_rate=3e-4,  # at 2e-3 all scores become one: the loss is log 2 from the 40th step on
)  # fmt: skip


@lru_cache
def ranked(kind: str = "scorenet") -> RankedPersons:
    return ranked_persons(PERSONS, BODY, SCORENET if kind == "scorenet" else HMR)


def test_errors_and_samples_are_those_of_the_hypotheses():
    found = ranked()
    assert found.x_0.shape == (8, 4, 133) and found.errors.shape == (8, 4, 2) and (found.errors > 0).all()
    seen = (found.x_0[..., :87].unflatten(-1, (29, 3))[..., :2] / 50 - found.true_uv[:, None]).abs().mean()
    assert 0 < seen < 0.2  # noise of 0.05 radians moves joints little
    blind = replace(EIGHT, observation=replace(EIGHT.observation, crop=None, has_crop=None))
    with pytest.raises(InputError, match="mine/train: the model looks at pixels"):
        ranked_persons(replace(PERSONS, examples=blind), BODY, SCORENET)


def test_samples_of_checkpoints_are_ranked_as_they_are(tmp_path):
    first = tiny_hyponet().save(tmp_path / "a.safetensors", ())
    config = replace(SCORENET, sampled_by=(str(first), str(first)), hypotheses=(1, 2))
    found = ranked_persons(PERSONS, BODY, config)
    policy = tiny_hyponet()
    alone = policy.sample(policy.context(EIGHT.observation), 1, torch.Generator())
    torch.testing.assert_close(found.x_0[:, :1], alone, atol=1e-2, rtol=1e-3)  # the first of each is the mode
    torch.testing.assert_close(found.x_0[:, 1:2], alone, atol=1e-2, rtol=1e-3)
    assert (found.x_0[:, 2] - found.x_0[:, 1]).abs().max() > 1 and torch.isfinite(found.errors).all()
    with pytest.raises(InputError, match="a number for each"):
        replace(SCORENET, sampled_by=("a", "b"), hypotheses=(4,))


def test_the_loss_is_ranknet_of_sharpness_five():
    persons = ranked("hmr-scorer")
    losses = RankingLosses(starting_scorer(HMR, BODY), HMR).eval()
    (part,) = ranking_step(HMR, persons)(losses, 0)
    rank = losses.eval()(persons)["rank"]
    with torch.no_grad():
        from hmralign.models.paper.hmr_scorer import joints_on_canvas, square_on_canvas

        uvd = (persons.x_0[..., :87] / 50).unflatten(-1, (29, 3))
        scores = losses.network(square_on_canvas(persons.crop.float() / 255), joints_on_canvas(uvd, truncated=True))
    for n in range(2):
        total, pairs = 0.0, 0
        for metric in range(4):
            for i in range(4):
                for j in range(i + 1, 4):
                    sign = 1 if persons.errors[n, i, metric] < persons.errors[n, j, metric] else -1
                    total += float(torch.nn.functional.softplus(-sign * 5 * (scores[n, i] - scores[n, j])))
                    pairs += 1
        assert float(rank[n].detach()) == pytest.approx(total / pairs, rel=1e-3)
    assert set(part.terms) == {"rank"}


@pytest.mark.parametrize(("config", "steps"), [(SCORENET, 20), (HMR, 80)], ids=["scorenet", "hmr-scorer"])
def test_it_learns_the_order_and_becomes_a_critic(tmp_path, config, steps):
    persons = ranked(config.kind)
    worse = torch.arange(4.0)  # hypotheses are the further off the later they stand, which the picture shows
    off = (worse[:, None] * torch.cat([torch.full((87,), 4.0), torch.zeros(46)])).expand_as(persons.x_0)
    errors = (0.05 * (1 + worse))[None, :, None].expand_as(persons.errors)
    persons = replace(persons, x_0=persons.x_0 + off, errors=errors)
    network = train_ranking(config, persons, BODY, tmp_path, steps=steps)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    first, last = (sum(row["rank"] for row in some) / 5 for some in (rows[:5], rows[-5:]))
    assert last < 0.9 * min(first, math.log(2))  # a coin costs log 2
    path = save_published_scorer(tmp_path / "mine.safetensors", network, BODY.skeleton_hash, ("mine/train",))
    critic = make_critic(str(path), BODY)
    from hmralign.body.lbs import posed_joints
    from hmralign.structures import Hypotheses

    truth = EIGHT.annotation.body[:, None]
    scores = judge(critic, Hypotheses(truth, posed_joints(BODY, truth)), Example(EIGHT.observation))
    assert scores.shape == (8, 1) and critic.name == "mine"


def test_a_stopped_run_is_continued_as_it_began(tmp_path, monkeypatch):
    straight = train_ranking(SCORENET, ranked(), BODY, tmp_path / "a", steps=4)
    taken, left = Loop._take_step, [3]

    def dying(self):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return taken(self)

    monkeypatch.setattr(Loop, "_take_step", dying)
    with pytest.raises(KeyboardInterrupt):
        train_ranking(SCORENET, ranked(), BODY, tmp_path / "b", steps=4)
    monkeypatch.setattr(Loop, "_take_step", taken)
    resumed = train_ranking(SCORENET, ranked(), BODY, tmp_path / "b", steps=4)
    assert all(torch.equal(v, resumed.state_dict()[n]) for n, v in straight.state_dict().items())


def test_it_begins_from_hyponet_by_name_and_shape_and_a_frozen_encoder_stays(tmp_path):
    start = HypoNetPolicy(tiny_paper(MODEL), BODY).save(tmp_path / "h.safetensors", ())
    config = replace(SCORENET, start_from=str(start), train_encoder=False)
    network, theirs = starting_scorer(config, BODY), tiny_paper(MODEL)
    assert torch.equal(network.score_net.blocks[0].linear1.weight, theirs.denoiser.blocks[0].linear1.weight)
    assert torch.equal(network.encoder.conv1.weight, theirs.encoder.conv1.weight)
    trained = train_ranking(config, ranked(), BODY, tmp_path / "run", steps=2)
    for name, value in trained.encoder.state_dict().items():
        assert torch.equal(value, theirs.encoder.state_dict()[name]), name
    assert not torch.equal(trained.score_net.blocks[0].linear1.weight, theirs.denoiser.blocks[0].linear1.weight)
    with pytest.raises(InputError, match="is not trained, and no weights are given"):
        starting_scorer(replace(SCORENET, train_encoder=False), BODY)


def test_presets_quote_their_sources():
    scorenet, hmr = (read_config(RankingConfig, preset_path("paper", name)) for name in ("scorenet", "hmr-scorer"))
    assert scorenet == RankingConfig() and sum(scorenet.hypotheses) == 15 and scorenet.sharpness == 5.0
    assert (hmr.batch_size, hmr.learning_rate, hmr.halve_at, hmr.epochs) == (32, 5e-4, (5,), 25)
    assert not hmr.train_encoder and len(hmr.metrics) == 4 and hmr.hypotheses == (15,)
    assert replace(hmr, data=(MixedData("a", "b", "c"),)).data[0].weight == 1.0
    for wrong in ({"hypotheses": (1,)}, {"metrics": ()}, {"sharpness": 0.0}, {"accumulate": 99}, {"ema_decay": 1.0}):
        with pytest.raises(InputError, match="training of a scorer"):
            RankingConfig(**wrong)
    quoted = (scorenet.body_rate, scorenet.head_rate, scorenet.heatmap_weight, scorenet.clip_norm, scorenet.seed)
    assert quoted == (2e-4, 1e-3, 10.0, 1.0, 0)
