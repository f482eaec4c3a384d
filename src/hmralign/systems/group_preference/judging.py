"""Asking about several groups at once: draw, ask, merge; and what is shown of a memory for each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.vlm.memory.embeddings import Embedder
from hmralign.critics.vlm.memory.retrieval import Query, RetrievalOptions, Retrieved, retrieve
from hmralign.critics.vlm.memory.store import Memory
from hmralign.critics.vlm.plan import group_generator
from hmralign.structures import MemoryContext
from hmralign.systems.group_preference.asked_groups import AskedGroup, asked_groups
from hmralign.systems.group_preference.embedding import embedder_of, looks_at_pictures, view_of
from hmralign.systems.group_preference.pictures import StoredGroup
from hmralign.systems.group_preference.settings import JudgeConfig
from hmralign.systems.group_preference.verdicts import GroupVerdict, group_verdict
from hmralign.vlm.asker import Asker
from hmralign.vlm.asking import Question

NOTHING = Retrieved(MemoryContext(), (), (), ())
"""What a judge without a memory is shown."""


def make_embedder(
    config: JudgeConfig, memory: Memory | None = None, device: str | torch.device = "cpu"
) -> Embedder | None:
    """That of the memory, where it has vectors, or that of the configuration; raises as `embedder_of`."""
    return embedder_of(config.embedding, memory, device)


def group_query(group: StoredGroup, embedder: Embedder | None) -> Query:
    """What is asked of a memory about a group."""
    if embedder is None:
        return Query(group.images)
    view = view_of(group, picture=looks_at_pictures(embedder))
    return Query(group.images, embedding=embedder(view), space=embedder.space)


def shown_of(
    memory: Memory | None, group: StoredGroup, embedder: Embedder | None, options: RetrievalOptions, seed: int
) -> Retrieved:
    """Rules and cases for a group; what is drawn depends on the group and the seed alone."""
    if memory is None:
        return NOTHING
    generator = group_generator(f"rules {group.episode}", seed)
    return retrieve(memory, group_query(group, embedder), options, generator)


async def judge_groups(
    asker: Asker,
    groups: Sequence[StoredGroup],
    shown: Callable[[StoredGroup], Retrieved],
    body: BodyModel,
    config: JudgeConfig,
) -> list[GroupVerdict]:
    """A verdict for each group, in their order. Groups are drawn shortly before their turn comes.

    A group that cannot be drawn is unjudged. Raises as `ask_all`.
    """
    seen: list[AskedGroup] = []

    def questions() -> Generator[Question[Any], None, None]:
        for asked in asked_groups(groups, shown, body, config):
            seen.append(replace(asked, questions=()))  # their pictures are many
            yield from asked.questions

    with closing(questions()) as stream:
        results = iter(await asker.ask(stream))
    verdicts = []
    for asked in seen:
        if asked.undrawn:
            verdicts.append(GroupVerdict(asked.group.id, reason=asked.undrawn))
            continue
        own = [next(results) for _ in asked.calls]
        verdicts.append(group_verdict(asked.group.id, asked.group.size, asked.calls, own, asked.retrieved, config))
    return verdicts
