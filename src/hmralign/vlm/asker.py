"""Whoever asks a model again and again: with a journal, limits and a budget that hold for all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hmralign.structures import InputError
from hmralign.vlm.asking import Answered, Failed, Limits, Question, ask_all
from hmralign.vlm.budget import Budget
from hmralign.vlm.chat import ChatBackend
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat
from hmralign.vlm.prices import PriceTable


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
