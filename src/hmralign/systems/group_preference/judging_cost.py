"""What judging will cost, without asking anything.

Requests are put together as they would be sent, with blank pictures of the same sizes. Calls and tokens of pictures are
exact for models that count as `vlm.image_tokens` does; words are counted by their length; answers are assumed to fill
`COMMENT_SHARE` of each comment. Nothing is taken off for a cache, for answers that a journal has already, or added for
answers that have to be asked for again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from hmralign.critics.vlm.memory.store import Memory
from hmralign.critics.vlm.plan import Call
from hmralign.critics.vlm.prompts import ReviewedCase, reflection_request
from hmralign.overlays.hypothesis_tile import GroupPictures, TileStyle
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError, MemoryContext, Prototype, Rule
from hmralign.structures.counted import counted
from hmralign.structures.critique import HIGHEST_SCORE, RULE_LENGTH
from hmralign.systems.group_preference.judging import make_embedder, shown_of
from hmralign.systems.group_preference.pictures import read_groups
from hmralign.systems.group_preference.questions import group_calls, group_questions
from hmralign.systems.group_preference.settings import ExploreConfig, JudgeConfig, ScoreConfig, check_plan
from hmralign.vlm.chat import ChatRequest, Usage
from hmralign.vlm.image_tokens import (
    CHARACTERS_PER_TOKEN,
    QWEN3_VL,
    ImageGrid,
    estimated_prompt_tokens,
    request_image_tokens,
)
from hmralign.vlm.prices import Price

COMMENT_SHARE = 0.6
"""How much of the room for a comment is taken to be filled."""
FORM_TOKENS = 14
"""Tokens of an answer per prediction, without the comment: label, names of the fields, score, marks."""
REVIEW_TOKENS = 150
"""Tokens of an answer with two rules."""
LONG_RUN_HOURS = 24.0
"""A run that takes longer is worth a warning."""
_REASONING = "x" * 150


@dataclass(frozen=True)
class JudgingCost:
    """What judging takes, summed over all groups."""

    groups: int
    calls: int
    image_tokens: int
    text_tokens: int
    completion_tokens: int
    """By the assumption of this module."""
    completion_tokens_most: int
    """If every answer were as long as it may be."""
    cost: float | None = None
    """In the currency of the price table; None without a price."""
    cost_most: float | None = None

    @property
    def prompt_tokens(self) -> int:
        """Pictures and words."""
        return self.image_tokens + self.text_tokens

    def hours(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> float:
        """How long the calls take at such a pace, without repeated ones; 0 where there is no bound.

        Raises InputError for a bound that lets nothing through.
        """
        hours = 0.0
        tokens = self.prompt_tokens + self.completion_tokens
        for name, amount, pace in (
            ("requests", self.calls, requests_per_minute),
            ("tokens", tokens, tokens_per_minute),
        ):
            if pace is not None and pace <= 0:
                raise InputError(f"{pace:g} {name} per minute; expected more than 0")
            hours = max(hours, 0.0 if pace is None else amount / pace / 60)
        return hours

    def __add__(self, other: JudgingCost) -> JudgingCost:
        """Both; without a price where one has none."""
        if not isinstance(other, JudgingCost):
            return NotImplemented
        return JudgingCost(
            self.groups + other.groups, self.calls + other.calls, self.image_tokens + other.image_tokens,
            self.text_tokens + other.text_tokens, self.completion_tokens + other.completion_tokens,
            self.completion_tokens_most + other.completion_tokens_most,
        )  # fmt: skip

    def times(self, groups: int) -> JudgingCost:
        """For so many groups, where this is of one."""
        return JudgingCost(
            groups, self.calls * groups, self.image_tokens * groups, self.text_tokens * groups,
            self.completion_tokens * groups, self.completion_tokens_most * groups,
        )  # fmt: skip

    def priced(self, price: Price | None) -> JudgingCost:
        """With its cost."""
        if price is None:
            return self
        cost, most = (
            price.cost(Usage(self.prompt_tokens, answer))
            for answer in (self.completion_tokens, self.completion_tokens_most)
        )
        sums = (self.groups, self.calls, self.image_tokens, self.text_tokens, self.completion_tokens)
        return JudgingCost(*sums, self.completion_tokens_most, cost, most)


def estimate_counts(
    groups: int, group_size: int, config: ScoreConfig, *, memory: bool = True, grid: ImageGrid = QWEN3_VL
) -> JudgingCost:
    """For so many groups; with a memory that shows as many rules and cases as it may, of full length."""
    if groups < 0:
        raise InputError(f"{counted(groups, 'group')}; expected 0 or more")
    context = typical_context(config, config.judge.style) if memory else MemoryContext()
    return estimate_group(group_size, context, config.judge, grid=grid).times(groups)


def estimate_store(
    store: GroupStore,
    config: ScoreConfig,
    memory: Memory | None = None,
    *,
    name: str = "vlm",
    grid: ImageGrid = QWEN3_VL,
    device: str | torch.device = "cpu",
) -> JudgingCost:
    """For the groups of a store that have no scores of that name, with what the memory would show each of them.

    CLIP runs on `device`.
    """
    size, judge = store.facts.group_size, config.judge
    check_plan(judge, size)
    shards = store.unscored(name)
    if memory is None:
        groups = sum(len(store.shard_ids(shard)) for shard in shards)
        return estimate_group(size, MemoryContext(), judge, grid=grid).times(groups)
    embedder = make_embedder(judge, memory, device)
    total = JudgingCost(0, 0, 0, 0, 0, 0)
    for group in (g for shard in shards for g in read_groups(store, shard)):
        shown = shown_of(memory, group, embedder, config.retrieval, judge.seed)
        total += estimate_group(size, shown.context, judge, group_id=group.id, grid=grid)
    return total


def estimate_exploration(
    groups: int, group_size: int, config: ExploreConfig, *, grid: ImageGrid = QWEN3_VL
) -> JudgingCost:
    """For so many groups with their reviews, and a share of them once more with a rule less; from the first on with a
    memory that is full, which is too much."""
    context = typical_context(ScoreConfig(config.judge, config.shown), config.judge.style, pictures=config.images)
    one = estimate_group(group_size, context, config.judge, grid=grid)
    if config.mines_rules:
        cases = [ReviewedCase(HIGHEST_SCORE / 2, "x" * config.judge.options.comment_length, 50.0)] * group_size
        review = reflection_request(cases, context.rules, config.judge.options)
        one += _of_requests([review], [REVIEW_TOKENS], grid, groups=0)
    total = one.times(groups)
    if context.rules and config.leave_one_out:
        less = MemoryContext(context.rules[1:], context.prototypes)
        again = estimate_group(group_size, less, config.judge, grid=grid).times(
            math.ceil(config.leave_one_out * groups)
        )
        total += replace(again, groups=0)
    return total


def estimate_group(
    group_size: int, memory: MemoryContext, config: JudgeConfig, *, group_id: str = "", grid: ImageGrid = QWEN3_VL
) -> JudgingCost:
    """For one group: its requests with blank pictures."""
    check_plan(config, group_size)
    calls = group_calls(group_id, group_size, config)
    pictures = blank_pictures(group_size, config.style)
    requests = [q.request for q in group_questions(calls, pictures, memory, config)]
    return _of_requests(requests, [_answer_tokens(call, config) for call in calls], grid, groups=1)


def blank_pictures(group_size: int, style: TileStyle) -> GroupPictures:
    """A group of the right sizes, with nothing on it."""
    views = len(style.views.split("+"))
    blank = np.broadcast_to(np.uint8(255), (group_size, style.side, style.side, 3))
    captions = ("over the photo", "side view, camera at the right", "from above, camera at the bottom")[:views]
    return GroupPictures(np.array(blank[0]), (blank,) * views, captions, True, style)


def typical_context(config: ScoreConfig, style: TileStyle, *, pictures: bool = True) -> MemoryContext:
    """As many rules and cases as may be shown, rules of full length."""
    blank = blank_pictures(1, style)
    photo, overlay = (blank.photo_tile(), blank.tile(0)) if pictures else (None, None)
    rules = tuple(Rule(f"r{n}", "x" * RULE_LENGTH, ()) for n in range(config.retrieval.rules))
    return MemoryContext(
        rules,
        tuple(Prototype(f"p{n}", _REASONING, 50.0, (), photo, overlay) for n in range(config.retrieval.prototypes)),
    )


def _answer_tokens(call: Call, config: JudgeConfig) -> int:
    labels = 1 if config.plan.design == "pairs" else len(call.labels)
    comment = COMMENT_SHARE * config.options.comment_length / CHARACTERS_PER_TOKEN
    return math.ceil(labels * (FORM_TOKENS + comment))


def _of_requests(
    requests: Sequence[ChatRequest], answers: Sequence[int], grid: ImageGrid, *, groups: int
) -> JudgingCost:
    images = sum(request_image_tokens(request, grid) for request in requests)
    prompts = sum(estimated_prompt_tokens(request, grid) for request in requests)
    most = sum(request.max_tokens for request in requests)
    return JudgingCost(groups, len(requests), images, prompts - images, sum(answers), most)
