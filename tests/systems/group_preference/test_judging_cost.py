"""An estimate is what is sent afterwards: calls and tokens of pictures exactly, words and answers as an upper bound."""

from dataclasses import replace

import pytest

from hmralign.critics.vlm.memory.store import Memory
from hmralign.critics.vlm.plan import PlanOptions
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.systems.group_preference.explore import explore_groups, freeze_memory
from hmralign.systems.group_preference.judging_cost import (
    estimate_counts,
    estimate_exploration,
    estimate_store,
)
from hmralign.systems.group_preference.score import score_groups
from hmralign.systems.group_preference.settings import PAPER_JUDGE, ScoreConfig
from hmralign.vlm.image_tokens import estimated_prompt_tokens, request_image_tokens
from hmralign.vlm.journal import Journal
from hmralign.vlm.prices import Price
from support.judged_stores import BODY, EXPLORE, JUDGE, SCORE, SIZE, TruthJudge, asker, judged_store


def sent(backend):
    images = sum(request_image_tokens(r) for r in backend.requests)
    prompts = sum(estimated_prompt_tokens(r) for r in backend.requests)
    return len(backend.requests), images, prompts - images, sum(r.max_tokens for r in backend.requests)


@pytest.mark.parametrize(("plan", "with_memory"), [(PlanOptions(), False), (PlanOptions(window=3, rounds=3), True)])
def test_what_is_estimated_is_what_is_sent(tmp_path, plan, with_memory):
    config = replace(SCORE, judge=replace(JUDGE, plan=plan))
    folder, learnt = judged_store(tmp_path / "store"), judged_store(tmp_path / "learnt", persons_from=8)
    judge = TruthJudge(folder, learnt)
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        with Memory.open(tmp_path / "memory.sqlite") as memory:
            explore_groups(learnt, asker(judge.backend, journal), BODY, memory, EXPLORE)
            freeze_memory(memory, tmp_path / "frozen.sqlite")
        judge.backend.requests.clear()
        with Memory.open(tmp_path / "frozen.sqlite") as memory:
            shown = memory if with_memory else None
            estimate = estimate_store(GroupStore.open(folder), config, shown)
            assert not judge.backend.requests
            score_groups(folder, asker(judge.backend, journal), BODY, config, shown)
            calls, images, words, most = sent(judge.backend)
            assert (estimate.calls, estimate.image_tokens) == (calls, images)
            assert estimate.completion_tokens_most == most
            assert 0.7 * words < estimate.text_tokens < 1.3 * words  # these persons have no photo, which takes words
            rest = estimate_store(GroupStore.open(folder), config, shown)
    assert (rest.groups, rest.calls, rest.image_tokens) == (0, 0, 0)


def test_counts_are_sums_over_equal_groups(tmp_path):
    folder = judged_store(tmp_path / "store")
    by_counts = estimate_counts(4, SIZE, SCORE, memory=False)
    assert by_counts == estimate_store(GroupStore.open(folder), SCORE)
    assert estimate_counts(4_000_000, SIZE, SCORE, memory=False).calls == 1_000_000 * by_counts.calls
    assert estimate_counts(1, SIZE, SCORE).image_tokens > estimate_counts(1, SIZE, SCORE, memory=False).image_tokens


def test_sizes_of_pictures_follow_the_rule_of_the_model():
    # 20 overlays of 384 x 384 and the photo, in one call: 21 x 144 tokens.
    assert estimate_counts(1, 20, ScoreConfig(PAPER_JUDGE), memory=False).image_tokens == 21 * 144
    # Two rounds of two windows of 10: 40 tiles of 768 x 416 and four photos of 384 x 416.
    found = estimate_counts(1, 20, ScoreConfig(), memory=False)
    assert (found.calls, found.image_tokens) == (4, 40 * 24 * 13 + 4 * 12 * 13)


def test_exploring_costs_a_review_more():
    without = estimate_exploration(10, SIZE, replace(EXPLORE, reflection=False))
    found = estimate_exploration(10, SIZE, EXPLORE)
    assert found.calls == without.calls + 10 and found.image_tokens == without.image_tokens and found.groups == 10


def test_money():
    found = estimate_counts(1000, SIZE, SCORE)
    priced = found.priced(Price(1.0, 10.0))
    assert priced.cost == pytest.approx((found.prompt_tokens + 10 * found.completion_tokens) / 1e6)
    assert priced.cost_most == pytest.approx((found.prompt_tokens + 10 * found.completion_tokens_most) / 1e6)
    assert found.priced(None).cost is None
    with pytest.raises(InputError, match="expected 0 or more"):
        estimate_counts(-1, SIZE, SCORE)


def test_a_pace_says_how_long_it_takes():
    found = estimate_counts(1000, SIZE, SCORE, memory=False)
    tokens = found.prompt_tokens + found.completion_tokens
    assert found.hours() == 0.0
    assert found.hours(requests_per_minute=10.0) == pytest.approx(found.calls / 600)
    assert found.hours(10.0, tokens / 60) == pytest.approx(max(1.0, found.calls / 600))
    with pytest.raises(InputError, match="0 tokens per minute"):
        found.hours(tokens_per_minute=0.0)
