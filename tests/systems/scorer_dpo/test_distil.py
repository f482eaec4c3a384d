"""A critic's scores become a scorer: it beats chance on held-out groups, and says what it has learned from."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from hmralign.body.lbs import posed_joints
from hmralign.models.scorer import ScorerConfig
from hmralign.models.scorer_checkpoint import load_scorer
from hmralign.preferences.build import GroupStoreConfig, critic_facts, score_by_all
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.structures import Hypotheses, InputError, PreferenceGroups
from hmralign.systems.scorer_dpo.distil import DistilConfig, distil_sets
from hmralign.systems.scorer_dpo.train import ScorerConfigFile, read_scorer_config, train_scorer_file
from hmralign.training.hypothesis_sets import PerturbConfig, perturbed_truth
from hmralign.training.scorer import ScorerTrainingConfig
from support.group_stores import store_facts
from support.synthetic_persons import BODY, persons, seeded

GROUPS, SIZE, SHARD = 120, 6, 40
TINY = ScorerConfig(width=32, depth=1, context_width=16, context_depth=1, heads="one")
TRAINING = ScorerTrainingConfig(
    model=TINY, loss="listwise_ranknet", batch_size=24, steps=150, learning_rate=3e-3, ema_decay=0.97
)


def filled(folder, truth=True):
    """Persons with bodies that are off by anything from little to much, scored by two critics."""
    example = persons(GROUPS)
    bodies = perturbed_truth(example.annotation, SIZE, PerturbConfig(levels=(1.0, 12.0)), seeded(1))
    joints = posed_joints(BODY, bodies)
    facts = store_facts(group_size=SIZE, with_truth=truth)
    config = GroupStoreConfig(SIZE, with_truth=truth)
    critics = ("oracle", "reprojection") if truth else ("reprojection",)
    with writing(folder, facts) as store:
        for start in range(0, GROUPS, SHARD):
            some = torch.arange(start, start + SHARD)
            ids = tuple(f"p{i:03d}" for i in range(start, start + SHARD))
            shown = example[some] if truth else replace(example[some], annotation=None)
            store.append(PreferenceGroups(ids, None, Hypotheses(bodies[some], joints[some]), shown))
        score_by_all(store, {c: critic_facts(c, BODY, config) for c in critics}, BODY, config)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("distil") / "store")


def distil(store, folder, critic, **changes):
    config = ScorerConfigFile(
        training=TRAINING, distil=DistilConfig(str(store), critic, held_out_share=1 / 3, **changes)
    )
    path = train_scorer_file(config, folder)
    return load_scorer(path, BODY.skeleton_hash), json.loads((folder / "distilled.json").read_text())


def test_the_oracles_order_is_learned_better_than_chance(store, tmp_path):
    scored, record = distil(store, tmp_path, "oracle", needs_truth_is_fine=True)
    assert record["agreement"]["srcc"][1] > 0.2 and record["agreement"]["pair_accuracy"][1] > 0.55
    assert record["groups"] == {"learned": 80, "held_out": 40}
    assert scored.trained_on == ("wild/train", "critic:oracle")
    with pytest.raises(InputError, match=r"was made with distil\.critic = "):
        distil(store, tmp_path, "reprojection")


def test_the_order_of_reprojection_is_learned_better_than_chance(store, tmp_path):
    scored, record = distil(store, tmp_path, "reprojection")
    assert record["agreement"]["srcc"][1] > 0.2
    assert set(record["srcc_with_truth"]) == {"scorer", "critic"} and "quality" in record["scale"]
    assert scored.trained_on == ("wild/train", "critic:reprojection")
    claimed = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert claimed["made_by"]["store"] == GroupStore.open(store).content_hash() and "data" not in claimed


def test_without_truth_the_scale_is_the_critics(tmp_path):
    folder = filled(tmp_path / "store", truth=False)
    scored, record = distil(folder, tmp_path / "run", "reprojection")
    scores = GroupStore.open(folder).scores("reprojection")[:80].numpy()
    scores = scores[np.ptp(scores, axis=1) > 0]  # groups of somebody whose keypoints were not seen are silent
    assert record["score_at_0"] == pytest.approx(float(np.quantile(scores, 0.01)), abs=1e-6)
    assert "srcc_with_truth" not in record and 0 < scored.calibration.scores[0] < scored.calibration.scores[-1] < 1


def test_what_a_judge_is_unsure_of_weighs_less_and_silent_groups_are_left_out(store):
    scores = torch.rand(GROUPS, SIZE, generator=seeded(3)) * 100
    scores[7] = 50.0
    with writing(store) as writer:
        writer.declare_critic("judge", CriticFacts("judge", False))
        for shard in range(writer.num_shards):
            rows = range(shard * SHARD, (shard + 1) * SHARD)
            lines = [
                {"format_version": 1, "id": writer.ids[r], "status": "judged",
                 "standard_error": None if r == 7 else [1.0, None] + [40.0 if r == 5 else 10.0] * (SIZE - 2)}
                for r in rows
            ]  # fmt: skip
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (writer.folder / "scores/judge" / f"verdicts_{shard:05d}.jsonl").write_text(text)
            writer.write_scores("judge", shard, scores[rows.start : rows.stop])
    sets = distil_sets(DistilConfig(str(store), "judge", held_out_share=1 / 3), BODY)
    weights = sets.training.weights
    assert weights is not None and len(weights) < 80  # group 7 is silent, group 5 is all noise
    kept = weights[0]
    variance = scores[0].var(correction=0)
    signal = variance - torch.tensor([1.0, 0.0] + [100.0] * (SIZE - 2)).mean()
    torch.testing.assert_close(kept[:3], torch.stack([signal / (signal + 1), signal / signal, signal / (signal + 100)]))
    np.testing.assert_allclose(sets.bounds, np.quantile(scores[_heard(scores)].numpy(), [0.01, 0.99]), atol=1e-3)


def _heard(scores):
    """Groups to learn from, found another way."""
    kept = []
    for r in range(80):
        noise = np.array([1.0, 0.0] + [40.0**2 if r == 5 else 100.0] * (SIZE - 2))
        if r != 7 and np.var(scores[r].double().numpy()) > noise.mean():
            kept.append(r)
    return kept


def test_wrong_configurations_are_named(store, tmp_path):
    with pytest.raises(InputError, match="has seen the truth"):
        distil_sets(DistilConfig(str(store), "oracle"), BODY)
    with pytest.raises(InputError, match="no scores by 'nobody'"):
        distil_sets(DistilConfig(str(store), "nobody"), BODY)
    with pytest.raises(InputError, match="at least 10"):
        distil_sets(DistilConfig(str(store), "reprojection", held_out_share=0.05), BODY)
    for text, word in (
        ("distil: {store: a}", "go together"),
        ("distil: {store: a, critic: b}", "training.loss to listwise_ranknet"),
        ("training: {loss: listwise_ranknet}", "give a distil section"),
        ("data: {seed: 1}\ndistil: {store: a, critic: b}\n"
         "training: {loss: listwise_ranknet, model: {heads: one}}", "one of them"),
        ("distil: {store: a, critic: b, share: 1}", "unknown key 'share'"),
    ):  # fmt: skip
        path = tmp_path / "config.yaml"
        path.write_text(text)
        with pytest.raises(InputError, match=word):
            read_scorer_config(path)
