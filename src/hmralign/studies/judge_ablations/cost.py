"""What the calls behind some answers cost, from the journal: the same whether they were made now or for another arm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hmralign.vlm.journal import Journal


@dataclass(frozen=True)
class Cost:
    """What one arm costs as if it stood alone: calls that others share are counted in each."""

    calls: int = 0
    """Attempts at the questions that were answered. Those without a usable answer are in the study's total alone."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    price: float | None = None
    """In the currency of the price table; None where a call has none."""
    elsewhere: int = 0
    """Answers that lie in another journal, because another study has scored the store in the same way: not counted."""


def cost_of(journal: Journal, keys: Iterable[str]) -> Cost:
    """Cost of all attempts at these questions."""
    of_key = {key: journal.attempts(key) for key in sorted({*keys})}
    attempts = [attempt for found in of_key.values() for attempt in found]
    prices = [a.cost for a in attempts if a.status != "error"]
    priced = [p for p in prices if p is not None]
    return Cost(
        len(attempts),
        sum(a.usage.prompt_tokens or 0 for a in attempts),
        sum(a.usage.completion_tokens or 0 for a in attempts),
        round(sum(priced), 6) if attempts and len(priced) == len(prices) else None,
        sum(not found for found in of_key.values()),
    )
