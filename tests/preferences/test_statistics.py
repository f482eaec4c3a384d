"""Statistics of a store against SciPy and loops, and in the cases one would ask about."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from hmralign.preferences import statistics
from hmralign.preferences.statistics import (
    critic_statistics,
    effective_size,
    rank_agreement,
    ranks,
    statistics_markdown,
    store_statistics,
)
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.structures import InputError
from support.group_stores import SIZE, some_groups, store_facts
from support.synthetic_persons import seeded

WITH_TIES = torch.randint(5, (30, 7), generator=seeded(1)).float()
OTHER = torch.randint(4, (30, 7), generator=seeded(2)).float() + 0.5 * WITH_TIES


@pytest.fixture
def some_at_once(monkeypatch):
    monkeypatch.setattr(statistics, "_GROUPS_AT_ONCE", 4)


def test_ranks_are_those_of_scipy(some_at_once):
    assert np.array_equal(ranks(WITH_TIES).numpy(), rankdata(WITH_TIES.numpy(), axis=1))


def test_agreement_is_the_mean_spearman_of_groups_that_are_heard(some_at_once):
    first, second = WITH_TIES.clone(), OTHER.clone()
    first[3], second[8] = 2.0, -1.0
    heard = [i for i in range(30) if i not in (3, 8)]
    expected = np.mean([spearmanr(first[i], second[i]).statistic for i in heard])
    found = rank_agreement(("a", "b"), first, second)
    assert found.spearman == pytest.approx(expected, abs=1e-12) and found.groups == 28
    assert rank_agreement(("a", "b"), first[3:4], second[3:4]) == statistics.RankAgreement(("a", "b"), None, 0)


def test_an_order_agrees_with_itself_whatever_its_scale():
    scores = torch.randn(5, 6, generator=seeded(0))
    assert rank_agreement(("a", "b"), scores, scores.exp()).spearman == pytest.approx(1.0)
    assert rank_agreement(("a", "b"), scores, -3 * scores).spearman == pytest.approx(-1.0)


def test_shares_of_silence_and_ties(some_at_once):
    scores = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    found = critic_statistics(scores)
    assert found.silent_share == pytest.approx(1 / 3)
    assert found.tied_pair_share == pytest.approx((6 + 1 + 0) / 18)
    assert found.within_group_std == pytest.approx(np.std(scores.numpy(), axis=1).mean())
    assert found.mean_score == pytest.approx(1.0833333) and found.groups == 3


def test_effective_size():
    halves = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    outlier = torch.zeros(1, 100)
    outlier[0, 0] = 1.0
    normal = torch.randn(200, 500, generator=seeded(0))
    assert float(effective_size(halves)) == pytest.approx(4.0)
    assert float(effective_size(torch.tensor([[3.0, 8.0]]))) == pytest.approx(2.0)
    assert float(effective_size(outlier)) == pytest.approx(4 * 99 / 100)
    assert float(effective_size(normal).mean() / 500) == pytest.approx(2 / np.pi, abs=0.01)
    assert float(effective_size(torch.ones(1, 4))) == 0.0
    assert torch.allclose(effective_size(normal), effective_size(7 - 1e-3 * normal.double()))


@pytest.fixture
def store(tmp_path):
    with writing(tmp_path / "s", store_facts()) as writer:
        writer.append(some_groups("abc"))
        writer.append(some_groups("de", seed=1))
        writer.skip("f", "nobody")
        for name, shards in (("oracle", (0, 1)), ("mine", (0, 1)), ("late", (0,))):
            writer.declare_critic(name, CriticFacts(name, needs_truth=name == "oracle"))
            for shard in shards:
                scores = torch.randn(len(writer.shard_ids(shard)), SIZE, generator=seeded(shard))
                writer.write_scores(name, shard, scores)
    return GroupStore.open(tmp_path / "s")


def test_of_a_store(store):
    found = store_statistics(store)
    assert (found.groups, found.skipped, found.group_size, found.source) == (5, 1, SIZE, "wild/train")
    assert list(found.critics) == ["mine", "oracle"] and found.unfinished == ("late",)
    assert found.critics["oracle"].needs_truth and not found.critics["mine"].needs_truth
    assert [(a.critics, a.groups) for a in found.agreement] == [(("mine", "oracle"), 5)]
    assert found.agreement[0].spearman == pytest.approx(1.0)


def test_spread_in_millimetres_is_that_of_a_loop(store):
    distances = []
    for shard in range(store.num_shards):
        joints = store.read(shard).hypotheses.joints.double().numpy()
        for group in joints:
            relative = group - group[:, :1]
            for j in range(group.shape[1]):
                away = relative[:, j] - relative[:, j].mean(0)
                distances.append(np.sqrt((away**2).sum(-1).mean()))
    assert store_statistics(store).spread_mm == pytest.approx(1000 * np.mean(distances), rel=1e-5)


def test_plain_values_and_tables(store):
    found = store_statistics(store)
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["critics"]["mine"]["groups"] == 5 and record["agreement"][0]["critics"] == ["mine", "oracle"]
    text = statistics_markdown(found)
    assert "# 5 groups of 3 from wild/train" in text and "1 skipped" in text
    assert "| oracle (needs truth) |" in text and "late: left out" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ") and "score" not in line}
    assert widths and all(line.endswith("|") for line in text.splitlines() if line.startswith("|"))


def test_a_store_nobody_scored_and_an_empty_one(tmp_path):
    with writing(tmp_path / "s", store_facts()) as writer:
        with pytest.raises(InputError, match="no groups"):
            store_statistics(writer)
        writer.append(some_groups("a"))
        found = store_statistics(writer)
    assert found.critics == {} and found.agreement == () and "|" not in statistics_markdown(found)
