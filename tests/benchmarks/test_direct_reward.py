"""Direct reward against continuation: arms run, guards are applied afterwards, tables say what was run."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.alignment.multiview_reward import RewardData
from hmralign.storage.whole_file import write_json
from support.tiny_views import TinyViews, tiny_base_loss, tiny_critic, tiny_persons

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "multiview"))

import direct_reward
from direct_reward_tables import rate_table, text_of


def tiny_setting():
    data = RewardData(tiny_persons(6, 1), tiny_persons(6, 2), tiny_persons(4, 3))
    hard = np.array([True, False, False, True, False])
    policy = TinyViews().requires_grad_(False)
    second = tiny_critic(5).judge
    test, more = tiny_persons(5, 4), tiny_persons(8, 6)
    return direct_reward.Setting(policy, tiny_critic(), data, test, hard, tiny_base_loss, lambda _: more, second)


@pytest.fixture
def quick(monkeypatch):
    for name, arm in direct_reward.ARMS.items():
        config = replace(arm.config, steps=2, persons=2, base_persons=2, check_every=1)
        plan = config.rollout
        plan = replace(plan, num_steps=5, stop_within=min(2, plan.stop_within), last_steps=min(4, plan.last_steps))
        config = replace(config, rollout=plan)
        monkeypatch.setitem(direct_reward.ARMS, name, replace(arm, config=config, groups=min(arm.groups, 2)))
    monkeypatch.setattr(direct_reward, "GROUPS", replace(direct_reward.GROUPS, std_floor=1e-9))


def test_every_arm_runs_and_stands_in_the_tables_beside_the_start(tmp_path, quick):
    setting = tiny_setting()
    direct_reward.measure_before(setting, {"base": "tiny"}, tmp_path)
    for name in direct_reward.ARMS:
        direct_reward.run_arm(setting, name, 0, 60.0, tmp_path)
    write_json(tmp_path / "variants.json", direct_reward.variant_rows(setting, 2))
    document = direct_reward.document_of(tmp_path)
    direct_reward.measure_again(setting, tmp_path)  # the states hold what was measured
    again = direct_reward.document_of(tmp_path)["rows"]
    for first, second in zip(document["rows"], again, strict=True):
        assert second["all"]["mpjpe_mm"] == pytest.approx(first["all"]["mpjpe_mm"], rel=1e-4)
        assert second["all"]["second"]["mpjpe_mm"] == pytest.approx(first["all"]["second"]["mpjpe_mm"], rel=1e-4)
        assert first["all"]["second"]["mpjpe_mm"] != first["all"]["mpjpe_mm"]
    assert {row["arm"] for row in document["rows"]} == {"before", "mean", "medoid", "liked", *direct_reward.ARMS}
    control = next(row for row in document["rows"] if row["arm"] == direct_reward.CONTROL)
    assert control["all"]["against_control"] == [0.0, 0.0, 0.0] and control["seeds"] == 1
    assert document["persons"] == {"ordinary": 3, "hard": 2, "all": 5}
    assert {row["run"] for row in document["guard"]} == {f"{name}-0" for name in direct_reward.ARMS}
    text = text_of(document, "What it means.")
    assert [row["control"] for row in document["gates"]][2:] == [
        "retrieval by image",
        "one call of the base",
        direct_reward.MEAN,
        direct_reward.MEDOID,
        direct_reward.LIKED,
        "the base, DDIM",
    ]
    for words in (
        "What it means.",
        "By the second judge",
        "before fine-tuning",
        "ordinary poses (3 persons",
        "DRTune, K = 2",
    ):
        assert words in text


def test_a_run_that_is_there_is_not_run_again(tmp_path, quick):
    direct_reward.run_arm(tiny_setting(), "base", 1, 60.0, tmp_path)
    first = (tmp_path / "base-1/figures.json").read_bytes()
    direct_reward.run_arm(None, "base", 1, 60.0, tmp_path)
    assert (tmp_path / "base-1/figures.json").read_bytes() == first


def test_variants_need_less_memory_than_the_full_gradient_which_they_point_along():
    rows = {row["variant"]: row for row in direct_reward.variant_rows(tiny_setting(), 2)}
    assert rows["full"]["share"] == 1.0 and rows["full"]["cosine"] == pytest.approx(1.0, abs=1e-5)
    for name in ("ReFL", "DRaFT-1", "DRTune, K = 2"):
        assert rows[name]["megabytes"] < rows["full"]["megabytes"] and rows[name]["cosine"] > 0


def test_rates_are_chosen_on_held_out_persons_and_taken_by_runs(tmp_path, quick):
    setting = tiny_setting()
    blind = replace(setting, test=None)
    for name, rates in (("reward", (1e-4, 3e-2)), ("base", (1e-4,))):
        for rate in rates:
            direct_reward.try_rate(blind, name, rate, 60.0, tmp_path)
    tried = direct_reward.tried_rates(tmp_path)
    assert [(row["arm"], row["rate"]) for row in tried] == [("reward", 1e-4), ("reward", 3e-2), ("base", 1e-4)]
    best = min(tried[:2], key=lambda row: row["mpjpe"])["rate"]
    assert direct_reward.rate_of(tmp_path, "reward") == best and direct_reward.rate_of(tmp_path, "renders") is None
    assert direct_reward.rate_of(tmp_path, "bare") == direct_reward.rate_of(tmp_path, "moved") == direct_reward.MOVED
    for name, rate in (("reward", best), ("no-kl", direct_reward.MOVED)):
        direct_reward.run_arm(setting, name, 0, 60.0, tmp_path)
        assert direct_reward.read_json(tmp_path / f"{name}-0/figures.json")["config"]["learning_rate"] == rate
    assert "0.0001" in rate_table([row | {"says": row["arm"]} for row in tried])


def test_weights_of_a_low_rank_look_are_merged_and_not_left_out(tmp_path, quick):
    """Weights that do not fit a policy are an error: a look that loads nothing would be measured as the start."""
    setting = tiny_setting()
    config = replace(direct_reward.ARMS["lora"].config, learning_rate=0.05, seconds=60.0)
    seen = []
    direct_reward.trained_arm(
        setting, direct_reward.ARMS["lora"], config, tmp_path, lambda average: seen.append(average.state_dict())
    )
    last = {key: value.clone() for key, value in seen[-1].items()}
    tuned = direct_reward.with_weights(setting.policy, last, config)
    assert not torch.equal(tuned.layers[2].weight, setting.policy.layers[2].weight)
    with pytest.raises(RuntimeError, match=r"Missing|Unexpected"):
        direct_reward.with_weights(setting.policy, last, replace(config, trainable="all"))


def test_the_nearest_to_the_mean_is_one_of_the_samples_for_each_person():
    samples = torch.zeros(3, 2, 1, 4, 2, 2)
    samples[0, 0], samples[2, 1] = 9.0, 9.0
    samples[1] = 1.0
    found = direct_reward.nearest_to_mean(samples)
    assert torch.equal(found, samples[1])
