"""A budget that is kept: the call that could exceed it is not made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hmralign.structures.errors import InputError
from hmralign.vlm.chat import Usage
from hmralign.vlm.errors import BudgetError
from hmralign.vlm.journal import Journal, Spent
from hmralign.vlm.prices import Price


@dataclass(frozen=True)
class Budget:
    """Upper bounds; None for no bound."""

    max_cost: float | None = None
    """In the currency of the price table, which must have a price for the model."""
    max_calls: int | None = None
    """Attempts, whatever came of them."""
    max_tokens: int | None = None
    """Prompt and answer together."""
    counts: Literal["journal", "run"] = "journal"
    """Whether calls that the journal holds already are counted: a resumed run does not get its budget anew."""

    def __post_init__(self) -> None:
        """Raise InputError for a bound below zero."""
        for name in ("max_cost", "max_calls", "max_tokens"):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise InputError(f"the budget {name} is {value}; expected 0 or more")


_ROUNDING = 1e-9
"""Sums of floats: a budget for exactly three calls lets three through."""


class Ledger:
    """Spent, and promised to calls in flight. A promise is the worst case: the longest answer, nothing cached."""

    def __init__(self, budget: Budget, price: Price | None, journal: Journal, model: str) -> None:
        if budget.max_cost is not None and price is None:
            raise InputError(f"the budget has max_cost and the price table has no price for {model}")
        self._budget, self._price = budget, price
        before = journal.spent() if budget.counts == "journal" else Spent(0, 0, 0, 0, 0, 0.0, 0)
        self.calls, self.cost = before.calls, before.cost
        self.tokens = before.prompt_tokens + before.completion_tokens

    def promise(self, worst: Usage) -> None:
        """Set aside one call. Raises `BudgetError` where the budget does not have it."""
        calls, tokens, cost = self.calls + 1, self.tokens + _tokens(worst), self.cost + self._cost(worst)
        bounds = (
            ("calls", calls, self._budget.max_calls),
            ("tokens", tokens, self._budget.max_tokens),
            ("cost", cost, self._budget.max_cost),
        )
        for name, value, bound in bounds:
            if bound is not None and value > bound * (1 + _ROUNDING):
                raise BudgetError(
                    f"the next call could bring the {name} to {value:.6g}, and the budget is {bound:.6g}; answers so "
                    "far are in the journal, and a run with a larger budget goes on from there"
                )
        self.calls, self.tokens, self.cost = calls, tokens, cost

    def settle(self, worst: Usage, real: Usage) -> float | None:
        """Put what a call used in the place of what was promised to it; gives its cost, None without a price."""
        self.tokens += _tokens(real) - _tokens(worst)
        self.cost += self._cost(real) - self._cost(worst)
        return None if self._price is None else self._price.cost(real)

    def _cost(self, usage: Usage) -> float:
        return self._price.cost(usage) if self._price else 0.0


def _tokens(usage: Usage) -> int:
    return (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
