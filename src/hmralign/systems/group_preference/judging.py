"""Asking about several groups at once: draw, ask, merge; and what is shown of a memory for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hmralign.body.model import BodyModel
from hmralign.critics.vlm.plan import Call, group_generator
from hmralign.memory.embeddings import Embedder, GroupView, PoseEmbedder
from hmralign.memory.retrieval import Query, RetrievalOptions, Retrieved, retrieve
from hmralign.memory.store import Memory
from hmralign.structures import InputError, MemoryContext
from hmralign.systems.group_preference.pictures import StoredGroup, draw_group
from hmralign.systems.group_preference.questions import group_calls, group_questions
from hmralign.systems.group_preference.settings import JudgeConfig
from hmralign.systems.group_preference.verdicts import GroupVerdict, group_verdict
from hmralign.vlm.asking import Answered, Failed, Limits, Question, ask_all
from hmralign.vlm.budget import Budget
from hmralign.vlm.chat import ChatBackend
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat
from hmralign.vlm.prices import PriceTable

NOTHING = Retrieved(MemoryContext(), (), (), ())
"""What a judge without a memory is shown."""


@dataclass(frozen=True)
class Asker:
    """Who is asked, with the journal of answers and what may be spent."""

    backend: ChatBackend
    journal: Journal
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    prices: PriceTable = field(default_factory=PriceTable)

    def __post_init__(self) -> None:
        """Raise InputError for a budget that starts anew with each batch of questions."""
        if self.budget.counts != "journal":
            raise InputError("questions are asked in batches, so a budget has to count what is in the journal")

    async def ask(self, questions: Iterator[Question[Any]]) -> list[Answered[Any] | Failed]:
        """As `ask_all`."""
        return await ask_all(self.backend, self.journal, questions, self.limits, self.budget, self.prices)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        if isinstance(self.backend, OpenAIChat):
            await self.backend.close()


def make_embedder(config: JudgeConfig) -> Embedder | None:
    """By the word of the configuration."""
    return PoseEmbedder() if config.embedding == "pose" else None


def group_query(group: StoredGroup, embedder: Embedder | None) -> Query:
    """What is asked of a memory about a group."""
    if embedder is None:
        return Query(group.images)
    return Query(group.images, embedding=embedder(GroupView(group.hypotheses, group.observation)), space=embedder.space)


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
    """A verdict for each group, in their order. Groups are drawn when their turn comes.

    A group that cannot be drawn is unjudged. Raises as `ask_all`.
    """
    asked: dict[int, tuple[tuple[Call, ...], Retrieved]] = {}
    undrawn: dict[int, str] = {}

    def questions() -> Iterator[Question[Any]]:
        for number, group in enumerate(groups):
            try:
                pictures = draw_group(group, body, config.style)
            except InputError as error:
                undrawn[number] = str(error)
                continue
            asked[number] = (calls, retrieved) = group_calls(group.id, group.size, config), shown(group)
            yield from group_questions(calls, pictures, retrieved.context, config)

    results = iter(await asker.ask(questions()))
    verdicts = []
    for number, group in enumerate(groups):
        if number in undrawn:
            verdicts.append(GroupVerdict(group.id, reason=undrawn[number]))
            continue
        calls, retrieved = asked[number]
        own = [next(results) for _ in calls]
        verdicts.append(group_verdict(group.id, group.size, calls, own, retrieved, config))
    return verdicts
