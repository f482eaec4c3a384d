"""Coverage of intervals: it is right where the truth is known, and shared noise is the same for everybody."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from support.synthetic_persons import BODY, persons, seeded, tiny_model

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "alignment"))

import interval_coverage
from interval_coverage import SharedNoise

RESULTS = Path(__file__).parents[2] / "docs/results"


def test_intervals_of_independent_persons_cover_and_say_how_far_means_move():
    draw = np.random.default_rng(0)
    found = interval_coverage.coverage([0.2 + 0.05 * draw.standard_normal(200) for _ in range(40)])
    assert 35 <= found["covered"] <= 40 and found["of"] == 40
    assert abs(found["mean_mm"] - 200) < 2 and found["least_mm"] < found["mean_mm"] < found["most_mm"]
    assert 0.6 < found["moves_mm"] / found["stated_mm"] < 1.5


def test_what_all_persons_of_an_evaluation_share_is_missed():
    draw = np.random.default_rng(0)
    shared = [0.2 + 0.02 * draw.standard_normal() + 0.05 * draw.standard_normal(200) for _ in range(40)]
    found = interval_coverage.coverage(shared)
    assert found["covered"] < 25 and found["moves_mm"] > 2 * found["stated_mm"]


def test_shared_noise_is_the_same_for_everybody_and_changes_with_its_seed():
    policy = LitePolicy(tiny_model(), BODY)
    seen = persons(2).observation[torch.tensor([0, 0])]  # one person twice
    draws = [seeded(1), seeded(2)]
    own = policy.propose_each(seen, SamplerConfig(3), draws)
    assert not torch.equal(own.rotmats[0, 1:], own.rotmats[1, 1:])
    found = [SharedNoise(policy, n).propose_each(seen, SamplerConfig(3), draws) for n in (0, 0, 1)]
    torch.testing.assert_close(found[0].rotmats[0], found[0].rotmats[1], atol=1e-4, rtol=0)
    assert torch.equal(found[0].rotmats, found[1].rotmats)
    assert not torch.equal(found[0].rotmats[:, 1:], found[2].rotmats[:, 1:])


def test_the_committed_intervals_cover_at_least_17_of_20_and_the_page_says_so():
    ways = json.loads((RESULTS / "interval_coverage.json").read_text())["ways"]
    page = (RESULTS / "interval_coverage.md").read_text()
    for way in ("other persons", "same persons"):
        assert all(row["of"] == 20 and row["covered"] >= 17 for row in ways[way].values())
        covered, of = (sum(row[key] for row in ways[way].values()) for key in ("covered", "of"))
        assert f"{covered} of {of} intervals cover" in page
        assert f"{covered} of {of}" in (RESULTS / "interval_coverage_reading.md").read_text()
